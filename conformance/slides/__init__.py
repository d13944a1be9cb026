"""Whole-slide images that the tool draws and sends, of a test patient."""
