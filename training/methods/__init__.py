"""Teachers, students and their losses: one folder per method."""
