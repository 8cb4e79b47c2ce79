"""From an image to a map of its nuclei, without annotations (paper Sec. 3.2).

======================  =============================================================================================
`protocol`              what a segmenter is, and the check of what one returns
`gmm`                   the paper's segmenter: stretching, adaptive threshold, Gaussian mixture on colour
`cleaning`              physical clean-up of masks, the three-level map, the rule by which a mask is left out
`overlay`               nuclei outlined on their image
======================  =============================================================================================

Everything here works on ``(H, W, 3)`` uint8 RGB arrays and imports neither torch nor another wing of the house.
`syncgan.MaskExtractor` is the front door.
"""
