"""The node: receives whole-slide studies, analyzes them, returns DICOM results to the PACS."""

__version__ = "0.1.1"
