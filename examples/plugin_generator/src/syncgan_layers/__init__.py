"""Two generators for syncgan, one of each kind: an object that learns by itself, and a network that syncgan trains."""

from syncgan_layers.masks import TurnedMasks
from syncgan_layers.renderer import ResidualRenderer

__all__ = ["ResidualRenderer", "TurnedMasks"]
