"""A drawn slide with a known truth."""
