"""Annotations: Microscopy Bulk Simple Annotations (PS3.3 A.87), and GeoJSON for QuPath."""
