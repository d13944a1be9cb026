"""The commands of `dicom-node`, one module per command."""
