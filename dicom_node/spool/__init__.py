"""Received instances on disk."""
