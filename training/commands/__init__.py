"""The commands of `dicom-train`, one module each."""
