"""Instance labels: one number a nucleus, and the clean-up that looks at each nucleus by itself."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from syncgan.arrays import Labels, Mask
from syncgan.config import CleaningConfig
from syncgan.segmentation.cleaning import area_px, fill_holes
from syncgan.segmentation.splitting import split_touching

__all__ = ["clean_labels", "consecutive", "fill_label_holes", "labels_of_mask", "nucleus_areas_px", "regions_of"]


def regions_of(mask: NDArray[np.generic]) -> Labels:
    """Label the 8-connected regions of an (H, W) nucleus mask: (H, W) int32, 0 for background."""
    _, labels = cv2.connectedComponents(np.ascontiguousarray(mask != 0, dtype=np.uint8), connectivity=8)
    return np.asarray(labels, dtype=np.int32)


def consecutive(labels: NDArray[np.integer]) -> Labels:
    """Renumber (H, W) labels to 1..N in their order; 0 stays background. Returns int32."""
    highest = int(labels.max(initial=0))
    if highest > labels.size:  # any integer is a label: a table up to it might not fit into memory
        values, positions = np.unique(labels, return_inverse=True)
        return np.asarray(positions.reshape(labels.shape) + (values[0] != 0), dtype=np.int32)
    present = np.zeros(highest + 1, bool)
    present[labels.ravel()] = True
    present[0] = False
    return np.asarray(np.where(present, np.cumsum(present), 0).astype(np.int32)[labels])


def labels_of_mask(mask: Mask, cleaning: CleaningConfig) -> Labels:
    """Label the nuclei of a plain (H, W) mask {0, 1}, holes filled and touching nuclei split as asked."""
    if cleaning.max_hole_share:
        mask = fill_holes(mask, max_hole_share=cleaning.max_hole_share)
    return split_touching(mask) if cleaning.split_touching else regions_of(mask)


def clean_labels(labels: Labels, cleaning: CleaningConfig) -> Labels:
    """Remove nuclei that touch the border or are too small or too large, as asked.

    Parameters
    ----------
    labels : (H, W) int32, 0 for background, 1..N without gaps.

    Returns
    -------
    (H, W) int32 labels 1..M of the nuclei that are left, in their order.
    """
    if not (cleaning.min_nucleus_area or cleaning.max_nucleus_area or cleaning.border_objects == "remove"):
        return labels
    areas = np.bincount(labels.ravel(), minlength=1)
    low = area_px(cleaning.min_nucleus_area, labels.shape)
    high = area_px(cleaning.max_nucleus_area, labels.shape) or np.inf
    keep = (areas > 0) & (areas >= low) & (areas <= high)
    if cleaning.border_objects == "remove":
        keep[_at_border(labels)] = False
    keep[0] = False
    return np.asarray(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels])


def fill_label_holes(labels: Labels, *, max_hole_share: float) -> Labels:
    """Fill the holes of each nucleus by itself, so that a gap between several nuclei stays open.

    Parameters
    ----------
    labels : (H, W) int32, 0 for background.
    max_hole_share : holes up to this share of the area inside the nucleus' outline are filled.
    """
    filled = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            solid = fill_holes(labels[box] == label, max_hole_share=max_hole_share)
            filled[box][(solid == 1) & (labels[box] == 0)] = label
    return filled


def nucleus_areas_px(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the areas in pixels of the nuclei of (H, W) labels, largest first."""
    areas = np.bincount(labels.ravel(), minlength=1)[1:]
    return np.sort(areas[areas > 0].astype(np.int64))[::-1]


def _at_border(labels: Labels) -> Labels:
    return np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
