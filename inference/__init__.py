"""Slide to prediction: opening, tiling, tissue, student. No network, no hospital."""
