"""A slide: its files, headers, levels and frames, brought to RGB."""
