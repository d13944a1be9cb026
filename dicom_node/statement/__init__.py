"""The DICOM Conformance Statement, its tables from what the code negotiates."""
