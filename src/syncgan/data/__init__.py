"""Data room: everything between files or datasets and the tensors that the networks see.

- `images` decodes user files, the only door for them; `deep_images` is its back room for more than 8 bits.
- `scan` lists class folders; `folders` offers them as a map-style dataset, with groups and fingerprints.
- `export` writes synthetic images, masks and their manifest.
- `tensors` changes value ranges, the only module that does.
- `datasets` appends synthetic items to a dataset or replaces items of a batch.
- `phantom` draws cells with known truth for tests and demonstrations.
"""
