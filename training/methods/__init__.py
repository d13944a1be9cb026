"""Teachers, students, losses: a folder per method, and the registry of all."""
