"""N worker processes that extract features, fed by a durable queue (DBOS), on one or more machines.

The queue lives in OUT/queue.sqlite, or in PostgreSQL where several machines share OUT and the
slides under the same paths. A worker that dies is started again and its slide with it; a slide at
which workers die MOST_CRASHES times is refused. A run that was stopped goes on where it stopped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from dbos import (
    DBOS,
    DBOSClient,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    WorkflowStatus,
    WorkflowStatusString,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from training.errors import TrainingError
from training.tiles.slide_features import Outcome
from training.tiles.slide_files import SlideFiles

APPLICATION = "dicom-train"
VERSION = "1"
"""Changes when the steps of the workflow change: what an old version began is begun anew."""
MOST_CRASHES = 3
_ROUND_S = 0.2
_UNDER_WAY = {"ENQUEUED", "PENDING", "DELAYED"}


@dataclass(frozen=True)
class Job:
    """What a queue is for; slides of the same job share a queue."""

    encoder_name: str
    encoder_digest: str
    out: Path
    mpps: tuple[float, ...]
    database_url: str

    @property
    def key(self) -> str:
        """Names the queue: the same encoder, folder and magnifications give the same key."""
        stated = f"{self.encoder_digest} {self.out} {self.mpps}"
        return hashlib.sha256(stated.encode()).hexdigest()[:12]


def sqlite_url(out: Path) -> str:
    """The default queue, next to the features."""
    return f"sqlite:///{out.resolve() / 'queue.sqlite'}"


def executor(slot: int) -> str:
    """The name of a worker, the same after a restart: DBOS gives it back what it had begun."""
    return f"{socket.gethostname()}/{slot}"


def run(
    job: Job,
    slides: Sequence[SlideFiles],
    workers: int,
    *,
    done: Callable[[Outcome], None],
    take_over: Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """Outcomes of the slides in their order, `done` told of each; returns when all are settled.

    Raises TrainingError for a database that cannot be reached, workers that cannot start, and a
    second run of the same job on this machine.
    """
    if workers < 1:
        raise TrainingError(f"found {workers} workers, expected at least 1; give --workers 1.")
    job.out.mkdir(parents=True, exist_ok=True)
    with _alone(job), _client(job.database_url) as client:
        _adopt(client, job, [socket.gethostname(), *take_over])
        ids = {_enqueue(client, job, slide): slide.slide for slide in slides}
        with _Workers(job, workers, most_starts=workers + MOST_CRASHES * len(ids)) as all_:
            settled = dict(_settle(client, ids, all_, done))
    return tuple(settled[slide.slide] for slide in slides)


@contextmanager
def _client(url: str) -> Iterator[DBOSClient]:
    """A client of the queue's database, its tables made when absent. Raises TrainingError."""
    try:
        DBOS.migrate(url)
        client = DBOSClient(
            system_database_url=url,
            serializer=DBOSPortableJSONSerializer(),
            application_name=APPLICATION,
        )
    except (SQLAlchemyError, ArgumentError, OSError) as error:
        raise TrainingError(
            f"found no database for the queue ({str(error).splitlines()[0]}), expected SQLite or "
            "PostgreSQL; check the URL and that the server runs."
        ) from error
    try:
        yield client
    finally:
        client.destroy()


@contextmanager
def _alone(job: Job) -> Iterator[None]:
    """One run of a job on a machine: what its workers had begun is begun anew at the start."""
    path = job.out / f".{socket.gethostname()}-{job.key}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{job.out}: found another run of these features on this machine, expected one; "
                "wait until it ends."
            ) from error
        yield


def _adopt(client: DBOSClient, job: Job, hosts: Sequence[str]) -> None:
    """Put back into the queue what workers of these hosts had begun when they died."""
    begun = client.list_workflows(
        queue_name=job.key, status="PENDING", load_input=False, load_output=False
    )
    for workflow in begun:
        if (workflow.executor_id or "").rpartition("/")[0] in hosts:
            client.resume_workflow(workflow.workflow_id, queue_name=job.key)


def _enqueue(client: DBOSClient, job: Job, slide: SlideFiles) -> str:
    """Id of the workflow for a slide: the one that is under way, or a new one."""
    prefix = f"{job.key}/{slide.slide}/"
    rounds = client.list_workflows(workflow_id_prefix=prefix, load_input=False, load_output=False)
    under_way = [r.workflow_id for r in rounds if r.status in _UNDER_WAY]
    if under_way:
        return under_way[0]
    workflow_id = f"{prefix}{len(rounds)}"
    options: EnqueueOptions = {
        "workflow_name": "SlideWorkflow.extract",
        "class_name": "SlideWorkflow",
        "instance_name": "features",
        "queue_name": job.key,
        "workflow_id": workflow_id,
        "app_version": VERSION,
    }
    paths = [str(path.resolve()) for path in slide.paths]
    client.enqueue(options, slide.slide, paths, list(job.mpps))
    return workflow_id


def _settle(
    client: DBOSClient,
    ids: dict[str, str],
    workers: _Workers,
    done: Callable[[Outcome], None],
) -> Iterator[tuple[str, Outcome]]:
    waiting = dict(ids)
    while waiting:
        ended = [
            w
            for w in client.list_workflows(workflow_ids=list(waiting), load_input=False)
            if w.status not in _UNDER_WAY
        ]
        for workflow in ended:
            outcome = _outcome(waiting.pop(workflow.workflow_id), workflow)
            done(outcome)
            yield outcome.slide, outcome
        workers.keep_up()
        if waiting:
            time.sleep(_ROUND_S)


def _outcome(slide: str, workflow: WorkflowStatus) -> Outcome:
    if workflow.status == WorkflowStatusString.SUCCESS.value and workflow.output:
        return Outcome(**workflow.output)
    if workflow.status == WorkflowStatusString.MAX_RECOVERY_ATTEMPTS_EXCEEDED.value:
        reason = f"The worker died {MOST_CRASHES} times while it extracted this slide."
    else:
        reason = f"The extraction ended as {workflow.status}: {workflow.error}"
    return Outcome(slide, "refused", reason)


class _Workers:
    """Worker processes in numbered slots; one that died is started again in its slot."""

    def __init__(self, job: Job, count: int, *, most_starts: int) -> None:
        self._job = job
        self._starts_left = most_starts
        self._threads = max(1, (os.cpu_count() or 1) // count)
        self._running = [self._start(slot) for slot in range(count)]

    def keep_up(self) -> None:
        """Start again what was killed. Raises TrainingError for a worker that gave up, and when
        workers are killed too often.
        """
        for slot, process in enumerate(self._running):
            if process.poll() is None:
                continue
            if process.returncode > 0 or self._starts_left <= 0:
                raise TrainingError(
                    f"found worker {slot} ended with {process.returncode}, expected it to work; "
                    f"read {self._log(slot)}."
                )
            self._running[slot] = self._start(slot)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the workers finish what they do; after an error or an interrupt end them at once."""
        for process in self._running:
            with suppress(BrokenPipeError):  # it has died: there is nothing to finish
                _tell(process, "stop" if exc_type is None else "")
        for process in self._running:
            process.wait()

    def _start(self, slot: int) -> subprocess.Popen[str]:
        self._starts_left -= 1
        spec = {**asdict(self._job), "out": str(self._job.out)}
        spec |= {"slot": slot, "threads": self._threads}
        self._log(slot).parent.mkdir(exist_ok=True)
        with self._log(slot).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "training.tiles.feature_worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,  # an interrupt ends this process, and the closed pipe them
            )
        with suppress(BrokenPipeError):  # it died at once: keep_up sees that
            _tell(process, json.dumps(spec))
        return process

    def _log(self, slot: int) -> Path:
        return self._job.out / "logs" / f"{socket.gethostname()}-{slot}.log"


def _tell(process: subprocess.Popen[str], line: str) -> None:
    if process.stdin is None:
        raise AssertionError("workers are started with a pipe")
    process.stdin.write(line + "\n")
    process.stdin.flush()
