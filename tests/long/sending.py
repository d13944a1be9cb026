"""A C-STORE sender that changes no byte and repeats like a PACS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, _config

_config.STORE_SEND_CHUNKED_DATASET = True  # the bytes of the file, never parsed


def store(port: int, paths: Sequence[Path]) -> dict[Path, int | None]:
    """The C-STORE status of each file that was sent on one association; None without an answer."""
    entity = AE("PACS")
    entity.acse_timeout = entity.connection_timeout = 10
    entity.dimse_timeout = entity.network_timeout = 60
    metas = {path: read_file_meta_info(path) for path in paths}
    for meta in metas.values():
        entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    answers: dict[Path, int | None] = {}
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE")
    try:
        for path in paths:
            if not association.is_established:
                break
            answers[path] = None
            answers[path] = association.send_c_store(path).get("Status")
    except (OSError, RuntimeError):  # the node was killed in the middle
        pass
    finally:
        if association.is_established:
            association.release()
    return answers


def store_all(
    port: int,
    paths: Sequence[Path],
    *,
    give_up: Callable[[], bool] = lambda: False,
    takes_refusal: bool = False,
) -> tuple[set[Path], Counter[str]]:
    """Repeats until every file is answered 0000, or Cxxx where that is taken for an answer.

    What was acknowledged, and how often each status came ("none" without an answer).
    """
    waiting, acknowledged, statuses = list(paths), set(), Counter[str]()
    while waiting and not give_up():
        answers = store(port, waiting)
        statuses.update("none" if s is None else f"{s:04X}" for s in answers.values())
        acknowledged |= {path for path, status in answers.items() if status == 0x0000}
        refused = {path for path, status in answers.items() if (status or 0) >> 12 == 0xC}
        over = acknowledged | refused if takes_refusal else acknowledged
        waiting = [path for path in waiting if path not in over]
        if waiting:
            time.sleep(0.5)
    return acknowledged, statuses
