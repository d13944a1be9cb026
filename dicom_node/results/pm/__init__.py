"""Parametric Maps (PS3.3 A.75)."""
