"""Opening a student bundle: all digests are verified before it is believed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import BundleRejected
from engines.manifest.reading import read_manifest
from engines.manifest.whole import Manifest

SUMS_FILE = "SHA256SUMS"
MANIFEST_FILE = "manifest.json"
SHIPPED = Path(__file__).parent / "bundles"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle. `digest` is the SHA-256 of its SHA256SUMS and so of every file in it."""

    root: Path
    manifest: Manifest
    digest: str

    def file(self, name: str) -> Path:
        """Path of a file of the bundle."""
        return self.root / name

    def probe(self) -> dict[str, NDArray[np.generic]]:
        """Arrays of the exam, by `<graph>/in/<tensor>` and `<graph>/out/<tensor>`."""
        with np.load(self.file(self.manifest.probe.file), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def shipped_bundles() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{MANIFEST_FILE}"))


def open_bundle(name_or_path: str | Path) -> Bundle:
    """The bundle of a shipped name or a directory, digests verified and manifest parsed.

    Raises BundleRejected naming the file: missing, changed, not listed, or with unknown keys.
    """
    root = _locate(name_or_path)
    digest = _verify_digests(root)
    manifest_path = root / MANIFEST_FILE
    try:
        manifest = read_manifest(manifest_path.read_bytes())
    except BundleRejected as rejected:
        raise BundleRejected(f"{manifest_path}: {rejected}") from rejected
    for name in _files_named_by(manifest):
        if Path(name).name != name or not (root / name).is_file():
            raise BundleRejected(
                f"{root / name}: the manifest names it, but it is not in the bundle"
            )
    return Bundle(root=root, manifest=manifest, digest=digest)


def require_student(bundle: Bundle) -> Bundle:
    """The bundle itself. Raises BundleRejected for an encoder alone, which answers nothing."""
    manifest = bundle.manifest
    if manifest.is_encoder_alone:
        raise BundleRejected(
            f"bundle {manifest.name} {manifest.version}: found an encoder alone, expected a "
            "student that answers; build one on its features with dicom-train export RUN --encoder "
            f"{bundle.root}, or name another bundle"
        )
    return bundle


def _files_named_by(manifest: Manifest) -> list[str]:
    graphs = [graph.file for graph in manifest.graphs.values()]
    precisions = [p.file for p in manifest.precisions if p.file is not None]
    return [manifest.probe.file, *graphs, *precisions]


def _locate(name_or_path: str | Path) -> Path:
    name = str(name_or_path)
    if name in shipped_bundles():
        return SHIPPED / name
    root = Path(name_or_path)
    if not (root / MANIFEST_FILE).is_file():
        raise BundleRejected(
            f"{name}: neither a shipped bundle ({', '.join(shipped_bundles()) or 'none'}) "
            f"nor a directory with {MANIFEST_FILE}"
        )
    return root


def _verify_digests(root: Path) -> str:
    sums_path = root / SUMS_FILE
    if not sums_path.is_file():
        raise BundleRejected(f"{sums_path}: missing; a bundle lists the SHA-256 of all its files")
    listed: dict[str, str] = {}
    for line in sums_path.read_text().splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name or ".." in Path(name).parts or Path(name).is_absolute():
            raise BundleRejected(f"{sums_path}: expected '<sha256>  <file>', found {line!r}")
        listed[name] = digest
    # plans/ holds engines built on this machine from the listed graphs; each carries its own key.
    present = {
        str(p.relative_to(root))
        for p in root.rglob("*")
        if p.is_file() and p != sums_path and p.relative_to(root).parts[0] != "plans"
    }
    for name in sorted(present - listed.keys()):
        raise BundleRejected(f"{root / name}: not listed in {SUMS_FILE}")
    for name, expected in listed.items():
        if name not in present:
            raise BundleRejected(f"{root / name}: listed in {SUMS_FILE} but missing")
        found = hashlib.sha256((root / name).read_bytes()).hexdigest()
        if found != expected:
            raise BundleRejected(
                f"{root / name}: SHA-256 is {found[:12]}…, {SUMS_FILE} says {expected[:12]}…; "
                "the file was changed after the bundle was made"
            )
    return hashlib.sha256(sums_path.read_bytes()).hexdigest()
