"""Peers of the node: pynetdicom, programs of others, and slides that go out."""
