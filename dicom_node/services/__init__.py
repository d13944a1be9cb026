"""The DICOM services that the node offers; they do not know each other."""
