"""The one class of a slide or case: every word of it, and its measurement groups."""
