"""A procedural cytology simulator: smears with exact nucleus masks, from numbers alone.

::

    Phantom.image(i)
     | recipes   what a class is: nuclear size, outline, chromatin, crowding
     v scene     cells, red cells, debris as outlines in micrometres
     | paint     outlines -> stain concentration on a grid (and, from the same outlines, the mask)
     v optics    stain concentration -> light -> camera
"""

from __future__ import annotations

from syncgan.data.phantom.dataset import Phantom
from syncgan.data.phantom.optics import STAINS
from syncgan.data.phantom.recipes import RECIPES, CellRecipe

__all__ = ["RECIPES", "STAINS", "CellRecipe", "Phantom"]
