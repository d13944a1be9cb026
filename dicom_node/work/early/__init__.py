"""Slides of studies that are still open: encoded while nothing closed waits, and kept."""
