"""Key Object Selection Documents (PS3.3 A.35.4)."""
