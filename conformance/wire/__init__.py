"""Bytes on the wire, made and read by hand: what no library would send."""
