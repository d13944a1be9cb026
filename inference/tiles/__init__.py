"""Tiles: which there are, in what order, cut and encoded."""
