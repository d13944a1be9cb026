"""Tile features of slides: encoders, files, extraction, and its durable queue."""
