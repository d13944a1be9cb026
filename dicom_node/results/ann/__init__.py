"""Microscopy Bulk Simple Annotations (PS3.3 A.87)."""
