"""Which students can be answered for: a manifest may say more than a report."""

from __future__ import annotations

from engines.bundle import Bundle, require_student
from engines.errors import BundleRejected
from engines.manifest.outputs import HeatmapOutput, Output
from engines.manifest.uncertainty import Calibrated, Unknown
from engines.manifest.whole import Manifest
from inference.seen import COARSE, POSITIONS


def require_answerable(bundle: Bundle) -> Bundle:
    """The bundle itself. Raises BundleRejected for one with outputs that nobody would report,
    and for an encoder alone."""
    missing = unanswered(require_student(bundle).manifest)
    if missing:
        manifest = bundle.manifest
        raise BundleRejected(
            f"bundle {manifest.name} {manifest.version}: {missing} cannot be reported by this "
            "version of dicom-node; use a newer one, or another bundle"
        )
    return bundle


def unanswered(manifest: Manifest) -> str:
    """What of the student would be left out in silence; empty where nothing would."""
    found = [
        f"what is known of the uncertainty of {output.name}"
        for output in manifest.outputs
        if not _is_told(output)
    ]
    if manifest.unit == "case" and any(
        tensor.name.removesuffix(COARSE) == POSITIONS
        for tensor in manifest.graphs["aggregator"].inputs
    ):
        # In one bag the tiles of all slides would lie on one grid, over each other.
        found.append("a prediction of a whole case from the positions of its tiles")
    return ", ".join(found)


def _is_told(output: Output) -> bool:
    """Whether a report says what the manifest states of the uncertainty: an interval of a map has
    no place in its picture."""
    if isinstance(output, HeatmapOutput):
        return isinstance(output.uncertainty, Unknown | Calibrated)
    return True
