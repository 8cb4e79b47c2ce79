"""Mask generators that are no GANs: real masks warped and recombined, and a sampler of shape statistics."""
