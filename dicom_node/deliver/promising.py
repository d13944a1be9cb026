"""What of a sender's request can be promised: what is here, whole, and stays (PS3.4 Annex J).

A sender may delete its only copy on our word, so every file is read to its end and compared with
the digest that was made while it arrived. What has none came before the node made promises; sent
once more, it gets one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from dicom_node.ledger.answers.proofs import COMMITTED, MISSING
from dicom_node.ledger.keeping.inquiries import Inquiry, Kept, Reference
from dicom_node.ledger.keeping.promises import DUPLICATE
from dicom_node.observe.log import place_of
from dicom_node.sop_classes import VL_WHOLE_SLIDE_MICROSCOPY
from dicom_node.spool.filing import dataset_digest
from dicom_node.spool.identity import read_file_meta
from dicom_node.spool.incoming import SpoolFailed
from dicom_node.spool.lost_found import LostFile
from dicom_node.spool.refusals import Refused

log = structlog.get_logger()

PROCESSING_FAILURE, CLASS_CONFLICT, CLASS_NOT_SUPPORTED = "0110", "0119", "0122"
"""Failure reasons (PS3.3 C.14.1.1), beside 0112, no such object instance, and 0131."""
_STORED = {VL_WHOLE_SLIDE_MICROSCOPY.uid}
_OTHERS = "by-"  # folder of the spool that another node writes


def judge(
    inquiry: Inquiry,
    known: Mapping[str, Kept],
    spool: Path,
    *,
    may_promise: bool,
    is_stopping: Callable[[], bool],
) -> dict[Reference, str] | None:
    """`COMMITTED` or the failure reason of each reference; None if it was told to stop.

    Without `may_promise` what is here may be removed some day: 0110 then, because sending it again
    would not help.
    """
    if inquiry.is_duplicate:
        return dict.fromkeys(inquiry.outcomes, DUPLICATE)
    outcomes: dict[Reference, str] = {}
    for sop_class, uid in inquiry.outcomes:
        if is_stopping():
            return None
        kept = known.get(uid)
        outcome = _refusal(sop_class, kept)
        if outcome is None and kept is not None:
            outcome = _of_file(kept, uid, spool) if may_promise else _of_absence(kept, spool)
        outcomes[sop_class, uid] = outcome or PROCESSING_FAILURE
    return outcomes


def still_there(outcomes: Iterable[Reference], known: Mapping[str, Kept], spool: Path) -> set[str]:
    """Those of what was promised whose files are as long as they were."""
    uids = {uid for _, uid in outcomes}
    return {uid for uid in uids if uid in known and _length(known[uid], spool) is not None}


def _refusal(sop_class: str, kept: Kept | None) -> str | None:
    """Why a reference fails whatever its file is."""
    if kept is None:
        return MISSING if sop_class in _STORED else CLASS_NOT_SUPPORTED
    if kept.sop_class_uid != sop_class:
        return CLASS_CONFLICT
    return MISSING if kept.purged_at is not None else None


def _of_absence(kept: Kept, spool: Path) -> str:
    """Of what may not be promised: whether it is at least there."""
    is_gone = _sees(kept, spool) and not (spool / kept.path).exists()
    return MISSING if is_gone else PROCESSING_FAILURE


def _of_file(kept: Kept, uid: str, spool: Path) -> str:
    try:
        with LostFile(spool / kept.path) as file:
            if kept.sha256 is None or file.size_bytes != kept.size_bytes:
                return PROCESSING_FAILURE
            meta = read_file_meta(file.file_meta())
            says = (meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
            is_whole = says == (kept.sop_class_uid, uid, kept.transfer_syntax_uid)
            if is_whole and dataset_digest(file) == kept.sha256:
                return COMMITTED
    except (FileNotFoundError, NotADirectoryError):
        return MISSING if _sees(kept, spool) else PROCESSING_FAILURE
    except (OSError, SpoolFailed, Refused) as error:
        log.error("promised_nothing", error=place_of(error))
        return PROCESSING_FAILURE
    log.error("spool_file_damaged", study=kept.study_instance_uid, sop_instance_uid=uid)
    return PROCESSING_FAILURE


def _length(kept: Kept, spool: Path) -> int | None:
    """Length of a dataset, if its file is as long as it was."""
    try:
        with LostFile(spool / kept.path) as file:
            return file.size_bytes if file.size_bytes == kept.size_bytes else None
    except (OSError, SpoolFailed):
        return None


def _sees(kept: Kept, spool: Path) -> bool:
    """Whether this node would see the file if it were there."""
    folder = kept.path.partition("/")[0]
    return not folder.startswith(_OTHERS) or (spool / folder).is_dir()
