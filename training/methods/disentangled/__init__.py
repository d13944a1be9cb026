"""Disentangled two-stage learning: teacher with genes, student without."""
