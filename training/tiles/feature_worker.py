"""A worker process: `python -m training.tiles.feature_worker`, with its job on stdin.

The first line of stdin is the job (the database's URL may hold a password, so it is no argument);
`stop` asks it to finish its slide and end; the end of stdin means that its parent has died.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, DBOSConfiguredInstance, DBOSPortableJSONSerializer

from training.tiles.encoders import Encoder, open_encoder
from training.tiles.feature_queue import APPLICATION, MOST_CRASHES, VERSION, Job, executor
from training.tiles.slide_features import extract_slide
from training.tiles.slide_files import SlideFiles

log = structlog.get_logger()

_DRAIN_S = 3600


@DBOS.dbos_class()
class SlideWorkflow(DBOSConfiguredInstance):
    """The workflow of a worker process, with what it needs to run."""

    def __init__(self, encoder: Encoder, out: Path) -> None:
        super().__init__(config_name="features")
        self._encoder = encoder
        self._out = out

    @DBOS.workflow(max_recovery_attempts=MOST_CRASHES - 1)
    def extract(self, slide: str, paths: list[str], mpps: list[float]) -> dict[str, Any]:
        """The outcome of a slide (slide_features.Outcome) as JSON values."""
        return self.write(slide, paths, mpps)

    @DBOS.step()
    def write(self, slide: str, paths: list[str], mpps: list[float]) -> dict[str, Any]:
        """At least once: the files are replaced whole, and what is finished is skipped."""
        files = SlideFiles(slide, tuple(Path(path) for path in paths))
        outcome = extract_slide(files, self._encoder, self._out, mpps)
        log.info("slide_features", **asdict(outcome))
        return asdict(outcome)


def main() -> int:
    """Work until stdin says stop."""
    spec = json.loads(sys.stdin.readline())
    slot, threads = int(spec.pop("slot")), int(spec.pop("threads"))
    job = Job(**{**spec, "out": Path(spec["out"]), "mpps": tuple(spec["mpps"])})
    with open_encoder(job.encoder_name, threads=threads) as encoder:
        if encoder.digest != job.encoder_digest:
            log.error("encoder_changed", expected=job.encoder_digest, found=encoder.digest)
            return 1
        SlideWorkflow(encoder, job.out)
        DBOS(config=_config(job, slot))
        DBOS.listen_queues([job.key])
        DBOS.launch()
        DBOS.register_queue(job.key, worker_concurrency=1, polling_interval_sec=0.2)
        if sys.stdin.readline() != "stop\n":
            os._exit(1)  # a plain exit would wait for the slide; the next run begins it anew
        DBOS.destroy(workflow_completion_timeout_sec=_DRAIN_S)
    return 0


def _config(job: Job, slot: int) -> DBOSConfig:
    return {
        "name": APPLICATION,
        "system_database_url": job.database_url,
        "application_version": VERSION,
        "executor_id": executor(slot),
        "serializer": DBOSPortableJSONSerializer(),  # the default unpickles what is in the database
        "log_level": "ERROR",
        "enable_otlp": False,
    }


if __name__ == "__main__":
    sys.exit(main())
