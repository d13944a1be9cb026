"""Slide to prediction: opening, tiling, tissue, student, heatmap. No network, no hospital."""
