"""The commands of `dicom-train`, one module per command."""
