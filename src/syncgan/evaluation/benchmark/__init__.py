"""Whether synthetic images help a classifier: splits, arms, classifiers, one result file for each split (Sec. 4)."""
