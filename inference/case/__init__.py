"""A case: one prediction of all slides of a study together."""
