"""Associations, in and out: contexts, limits, who may open one, closed seams."""
