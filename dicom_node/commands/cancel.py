"""`dicom-node studies cancel UID`: what is under way for a study ends, and it is parked."""

from __future__ import annotations

import json
import sys

from dicom_node.exit_status import FAILED
from dicom_node.ledger.ledger import Ledger


def cancel(ledger: Ledger, uid: str, *, as_json: bool) -> int:
    """Park the study; 1 when there is none, or nothing is under way for it."""
    try:
        ledger.studies.cancel(uid)
    except (KeyError, ValueError) as error:
        reason = f"no study {uid}" if isinstance(error, KeyError) else str(error)
        told = json.dumps({"error": reason}) if as_json else f"dicom-node: {reason}"
        sys.stderr.write(told + "\n")
        return FAILED
    text = f"study {uid} is cancelled; `dicom-node retry {uid}` brings it back"
    told = json.dumps({"study_instance_uid": uid, "state": "parked"}) if as_json else text
    sys.stdout.write(told + "\n")
    return 0
