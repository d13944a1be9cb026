"""The whole statement: a page of Markdown in which tables stand where their names do."""

from __future__ import annotations

import re
from pathlib import Path

from dicom_node import __version__, implementation
from dicom_node.statement import tables

_PAGE = Path(__file__).with_name("statement.md")
_NAME = re.compile(r"\{\{([a-z_]+)\}\}")


def statement() -> str:
    """The DICOM Conformance Statement of this version (PS3.2 Annex N), in Markdown.

    Raises KeyError where the page names a table that there is not.
    """
    values = {
        "version": __version__,
        "class_uid": implementation.CLASS_UID,
        "version_name": implementation.VERSION_NAME,
        "services": tables.services(),
        "created": tables.created(),
        "parameters": tables.parameters(),
        "association_limits": tables.association_limits(),
        "accepted_contexts": tables.contexts(tables.accepted(), "SCP"),
        "proposed_contexts": tables.contexts(tables.proposed(), "SCU"),
        "rejections": tables.rejections(),
        "store_scp": tables.store_scp(),
        "store_scu": tables.store_scu(),
    }
    return _NAME.sub(lambda found: values[found[1]], _PAGE.read_text())
