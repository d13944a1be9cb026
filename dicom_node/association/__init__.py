"""Associations: who may open one, its limits, and the library's seams closed."""
