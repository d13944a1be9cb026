"""Structured Reports (PS3.3 A.35, PS3.16 TID 1500)."""
