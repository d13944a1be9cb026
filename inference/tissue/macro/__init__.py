"""The picture of the whole glass, beside the scan: read, placed, and searched for tissue."""
