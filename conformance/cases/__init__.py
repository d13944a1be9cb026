"""The cases, one module a subject; each ends with its table."""
