"""This host: its CPU and GPU, and what `engine compare` proved and timed on them."""
