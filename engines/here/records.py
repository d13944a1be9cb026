"""What `dicom-node engine compare` found on this host, kept until somebody asks again.

One JSON file per bundle and engine in a folder of the node's. An outcome counts for the very bundle
(by digest), release of the library, device and driver that it was found with, and for no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from engines.errors import EngineMissing
from engines.here.devices import Device
from engines.manifest.values import Strict
from engines.names import Engine, FormName

Verdict = Literal["ok", "outside", "failed", "refused", "absent"]


class ControlCost(Strict):
    """What a whole slide's results differ by from those of OpenVINO in fp32 on the same host."""

    slide: str
    """What the control slide was, for people; no path and no value of it."""
    score_shift: float
    """Largest, in the units of `Precision.score_shift`."""
    class_changes: int
    heatmap_spearman: float
    """Smallest rank correlation of a heatmap with the other."""
    tile_classes: float = 1.0
    """Smallest share of tiles that keep their class in a map of classes."""


class Row(Strict):
    """One precision."""

    precision: FormName
    verdict: Verdict
    reason: str = ""
    share_of_tolerance: float | None = None
    """Largest difference from the probe over its tolerance; None where it did not run."""
    tiles_per_s: float | None = None
    """Of the encoder with all lanes busy."""
    timed_on: str = ""
    """Date (UTC) of `tiles_per_s`, which stays when the rest is compared anew."""
    control: ControlCost | None = None


class Record(Strict):
    """One comparison of one engine."""

    bundle: str
    """Digest."""
    engine: Engine
    library: str
    """Release of the engine's library."""
    device: str
    driver: str
    compared_on: str
    """Date (UTC)."""
    rows: tuple[Row, ...]

    def row(self, precision: FormName) -> Row | None:
        """What was found in a precision."""
        return next((row for row in self.rows if row.precision == precision), None)

    def is_of(self, library: str, device: Device) -> bool:
        """Whether library, device and driver are still the same."""
        return (self.library, self.device, self.driver) == (library, device.name, device.driver)


class _File(Strict):
    schema_version: Literal[1]
    records: Annotated[tuple[Record, ...], Field(max_length=64)]
    """Newest first."""


class Records:
    """The comparisons of one node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, bundle: str, engine: Engine) -> tuple[Record, ...]:
        """Those of a bundle's digest on an engine, newest first.

        Raises EngineMissing for a file that cannot be read as one.
        """
        path = self._path(bundle, engine)
        try:
            found = _File.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            raise EngineMissing(
                f"{path}: what was kept of `engine compare` cannot be read "
                f"({type(error).__name__}); run it again"
            ) from error
        return tuple(r for r in found.records if (r.bundle, r.engine) == (bundle, engine))

    def keep(self, record: Record, *, retime: bool) -> Record:
        """The record as it is kept: without `retime` a speed that was timed before stays.

        Raises EngineMissing where it cannot be written.
        """
        try:
            before = self.of(record.bundle, record.engine)
        except EngineMissing:
            before = ()
        device = Device(record.device, record.driver)
        same = next((r for r in before if r.is_of(record.library, device)), None)
        if same is not None and not retime:
            record = record.model_copy(update={"rows": _as_timed(record.rows, same)})
        others = [r for r in before if r is not same][:63]
        self._write(record, others)
        return record

    def _write(self, record: Record, others: Sequence[Record]) -> None:
        path = self._path(record.bundle, record.engine)
        content = _File(schema_version=1, records=(record, *others)).model_dump(mode="json")
        partial = path.with_suffix(".partial")
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True)
                self._give(self.folder)
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._give(partial)
            partial.replace(path)
        except OSError as error:
            raise EngineMissing(f"{path}: cannot be written ({error.strerror})") from error

    def _give(self, path: Path) -> None:
        """To whom the node's folder belongs: root compares, and the node has to read it."""
        owner = self.folder.parent.stat()
        if os.geteuid() == 0 and owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid)

    def _path(self, bundle: str, engine: Engine) -> Path:
        return self.folder / f"{bundle[:16]}-{engine}.json"


def _as_timed(rows: Sequence[Row], before: Record) -> tuple[Row, ...]:
    kept = []
    for row in rows:
        old = before.row(row.precision)
        if old is not None and old.tiles_per_s is not None and row.tiles_per_s is not None:
            row = row.model_copy(update={"tiles_per_s": old.tiles_per_s, "timed_on": old.timed_on})
        kept.append(row)
    return tuple(kept)
