import numpy as np
import pytest
from syncgan_macenko import MacenkoSegmenter, stain_vectors

from syncgan.testing import check_segmenter

HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])


def painted(haematoxylin, eosin, white=240):
    """Return the image that densities of the two stains, each (H, W), make by Beer and Lambert's law."""
    density = haematoxylin[..., None] * HAEMATOXYLIN + eosin[..., None] * EOSIN
    return np.clip((white + 1) * 10**-density - 1, 0, 255).round().astype(np.uint8)


@pytest.fixture
def section():
    """An image of four nuclei in pink tissue, and its mask."""
    y, x = np.mgrid[:96, :96]
    nuclei = ((y % 48 - 24) ** 2 + (x % 48 - 24) ** 2) < 100
    shading = 0.8 + 0.2 * np.sin(x / 7) * np.cos(y / 9)
    return painted(np.where(nuclei, 0.9 * shading, 0.02), np.where(nuclei, 0.05, 0.4 * shading)), nuclei


def test_the_contract_is_kept():
    check_segmenter("macenko")
    check_segmenter(MacenkoSegmenter, white_level=255, min_area_px=5)


def test_nuclei_are_found(section):
    image, nuclei = section
    mask = MacenkoSegmenter()(image)
    assert 2 * (mask & nuclei).sum() / (mask.sum() + nuclei.sum()) > 0.95


def test_nuclei_of_a_single_stain_are_found(section):
    _, nuclei = section
    image = painted(np.where(nuclei, 0.9, 0.2), np.zeros(nuclei.shape))
    mask = MacenkoSegmenter()(image)
    assert 2 * (mask & nuclei).sum() / (mask.sum() + nuclei.sum()) > 0.95


def test_stain_vectors_are_those_that_the_image_was_painted_with(section):
    image, _ = section
    density = -np.log10((image.astype(np.float32) + 1) / 241)
    found = stain_vectors(density.reshape(-1, 3))
    for vector, truth in zip(found, (HAEMATOXYLIN, EOSIN), strict=True):
        assert vector @ truth / np.linalg.norm(truth) > 0.99
