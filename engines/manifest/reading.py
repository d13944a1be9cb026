"""A manifest read from its file, whichever version it was written in."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from engines.errors import BundleRejected
from engines.manifest.first import upgraded
from engines.manifest.whole import Manifest


def read_manifest(text: str | bytes) -> Manifest:
    """The manifest of a file's text. Raises BundleRejected with the first problems."""
    try:
        content = json.loads(text)
    except ValueError as error:  # of UnicodeDecodeError too
        raise BundleRejected("the manifest is no JSON") from error
    if not isinstance(content, dict):
        raise BundleRejected("the manifest is no JSON object")
    return manifest_of(content)


def manifest_of(content: dict[str, Any]) -> Manifest:
    """The manifest of its JSON values. Raises BundleRejected with the first problems."""
    try:
        return Manifest.model_validate_json(json.dumps(newest(content)))
    except ValidationError as error:
        raise BundleRejected(_first_problems(error)) from error


def newest(content: dict[str, Any]) -> dict[str, Any]:
    """The JSON values in the words of the newest version. Raises BundleRejected."""
    version = content.get("schema_version")
    if version == 2:
        return content
    if version != 1:
        raise BundleRejected(
            f"schema_version: found {json.dumps(version)}, expected 1 or 2; a newer dicom-node "
            "reads newer ones"
        )
    try:
        return upgraded(content)
    except ValueError as error:
        raise BundleRejected(str(error)) from error


def _first_problems(error: ValidationError) -> str:
    problems = [
        f"{'.'.join(str(part) for part in problem['loc']) or 'manifest'}: {problem['msg']}"
        for problem in error.errors()[:3]
    ]
    return "; ".join(problems)
