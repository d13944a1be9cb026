"""Tile features of slides: encoders, feature files, extraction, and its durable queue."""
