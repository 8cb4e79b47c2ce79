"""The benchmark: does training on synthetic images help a classifier on images that are new to it."""
