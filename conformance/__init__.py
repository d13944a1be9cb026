"""Asks a running node over the network what the standard says; nothing of ours."""
