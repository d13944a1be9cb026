"""The language in which results speak: one catalog of every title and sentence that people read."""
