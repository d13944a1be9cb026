"""A process that kills itself with SIGKILL at a chosen point: of a step, or of a recovery.

    python tests/support/crashing.py POINT NTH ingest|worker|egress|recover --config node.toml

The points sit in wrappers put around the real functions from outside: the product has no hooks.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from dicom_node.cli import main
from dicom_node.deliver import dimse, reporting
from dicom_node.ledger.arrivals import Arrivals
from dicom_node.ledger.commitments import Commitments
from dicom_node.ledger.deliveries import Deliveries
from dicom_node.ledger.keeping.promises import Promises
from dicom_node.ledger.keeping.retention import Retention
from dicom_node.ledger.studies import Studies
from dicom_node.spool.lost_found import LostFound
from dicom_node.spool.purge import Purger
from dicom_node.spool.spool import Spool
from dicom_node.work import outputs, workflow
from dicom_node.work.early.kept import KeptNumbers
from dicom_node.work.numbers import Numbers
from inference import archive
from inference.case import archive as case_archive
from inference.tiles import ahead
from inference.tiles.encoding import Encoding

Patch = tuple[object, str, str]

POINTS: dict[str, Patch] = {
    # point: (owner, function, before or after the call)
    "before open_slides": (workflow.StudyWorkflow, "open_slides", "before"),
    "in open_slides": (Studies, "start_analysis", "after"),
    "between open_slides and analyze": (workflow.StudyWorkflow, "analyze", "before"),
    "in analyze, after some tiles": (Encoding, "_note", "after"),
    "in analyze, before the prediction is written": (archive, "save", "before"),
    "in analyze, after the prediction is written": (archive, "save", "after"),
    "between analyze and build": (workflow.StudyWorkflow, "build_results", "before"),
    "in build, after one object": (outputs, "write_built", "after"),
    "in build, after the rows are written": (Deliveries, "start", "after"),
}

CASE_POINTS: dict[str, Patch] = {
    "in analyze, after the case is kept": (case_archive, "save", "after"),
}
"""Of the worker, where a model predicts for all slides together."""

AHEAD_POINTS: dict[str, Patch] = {
    "ahead, begun": (ahead._Making, "__init__", "after"),
    "ahead, made": (ahead, "plan_slide", "after"),
    "ahead, taken": (ahead._Making, "take", "after"),
}
"""Of the worker, with a study of several slides."""

EARLY_POINTS: dict[str, Patch] = {
    "early, before a slide is opened": (Numbers, "of", "before"),
    "early, after some tiles": (Encoding, "_note", "after"),
    "early, after all tiles": (Numbers, "of", "after"),
    "early, before its numbers are kept": (KeptNumbers, "save", "before"),
    "early, after its numbers are kept": (KeptNumbers, "save", "after"),
}
"""Of the worker, while a study is still open."""

READY_POINTS: dict[str, Patch] = {
    "closed, numbers not taken": (KeptNumbers, "take", "before"),
    "closed, numbers taken": (KeptNumbers, "take", "after"),
    "built, numbers still kept": (KeptNumbers, "discard", "before"),
    "built, numbers gone": (KeptNumbers, "discard", "after"),
}
"""Of a worker that finds the numbers of a closed study ready."""

EGRESS_POINTS: dict[str, Patch] = {
    "between build and deliver": (dimse, "send", "before"),
    "between two deliveries": (dimse, "send", "before"),
    "in deliver, sent but not recorded": (dimse, "send", "after"),
    "in deliver, recorded but not finished": (Deliveries, "record", "after"),
    "after the last delivery": (Deliveries, "finish", "before"),
    "in finish, recorded": (Deliveries, "finish", "after"),
}

PROOF_POINTS: dict[str, Patch] = {
    "before a request is kept": (Commitments, "open", "before"),
    "kept, not sent": (Commitments, "open", "after"),
    "sent, not noted": (Commitments, "sent", "before"),
    "noted, not reported": (Commitments, "sent", "after"),
}
"""Of the egress process, where the destination commits."""

REQUEST_POINTS: dict[str, Patch] = {
    "heard, not kept": (Promises, "ask", "before"),
    "kept, not answered": (Promises, "ask", "after"),
}
"""Of the ingest process, where a sender asks for commitment."""

PROMISE_POINTS: dict[str, Patch] = {
    "before a decision": (Promises, "decide", "before"),
    "decided, not told": (Promises, "decide", "after"),
    "on the way to the sender": (reporting, "report", "before"),
    "told, not noted": (reporting, "report", "after"),
    "told and noted": (Promises, "close", "after"),
}
"""Of the egress process after that."""

PURGE_POINTS: dict[str, Patch] = {
    "digests made, nothing written": (Retention, "purge_inputs", "before"),
    "written, nothing unlinked": (Retention, "purge_inputs", "after"),
    "one file unlinked, not noted": (Purger, "_remove", "after"),
}
"""Of `dicom-node purge`, or of the egress process."""

RECOVER_POINTS: dict[str, Patch] = {
    "before a file has its new name": (Spool, "publish", "before"),
    "published, not recorded": (Arrivals, "record", "before"),
    "recorded, still in lost+found": (LostFound, "discard", "before"),
    "gone from lost+found": (LostFound, "discard", "after"),
    "restored, still in lost+found": (Spool, "replace", "after"),
}


ALL_POINTS = (
    POINTS
    | CASE_POINTS
    | AHEAD_POINTS
    | EARLY_POINTS
    | READY_POINTS
    | EGRESS_POINTS
    | PROOF_POINTS
    | REQUEST_POINTS
    | PROMISE_POINTS
    | PURGE_POINTS
    | RECOVER_POINTS
)


def arm(point: str, nth: int) -> None:
    """Wrap the function of a point so that its `nth` call is the last thing the process does."""
    owner, name, when = ALL_POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        mine = next(calls)  # of this call: others may begin, on other threads, before it ends
        if mine == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*args, **kwargs)
        if mine == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, deadly)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
