"""The `dicom-node demo` command: a drawn slide, a small PACS and a page to look at."""
