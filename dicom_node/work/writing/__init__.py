"""Writing the objects of a study: in which order, under which numbers."""
