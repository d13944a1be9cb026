"""Who we say we are in every association and file (PS3.7 D.3.3.2)."""

from __future__ import annotations

from dicom_node import __version__

CLASS_UID = "2.25.59973364533846736370483375079325969862"
MANUFACTURER = "dicom-node project"
"""In every result (PS3.3 C.7.5.1): a slide that says so is none, but a picture of our own."""
VERSION_NAME = f"DICOMNODE_{__version__}"[:16]
"""At most 16 characters."""
