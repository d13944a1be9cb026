"""The student that is exported, and what its card and its manifest tell of it alike."""
