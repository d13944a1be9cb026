"""The pathologist's summary: one page (PS3.3 A.45.1)."""
