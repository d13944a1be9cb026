"""The node: receives whole-slide studies, analyzes them, returns DICOM results."""

__version__ = "0.1.1"
