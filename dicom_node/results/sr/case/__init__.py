"""The report of a case: all slides of a study in one."""
