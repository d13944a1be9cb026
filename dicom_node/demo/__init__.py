"""The parts of `dicom-node demo`: a drawn slide as DICOM, and a small PACS."""
