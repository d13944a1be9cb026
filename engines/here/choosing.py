"""Which engine and precision a node runs, where the configuration leaves it open.

`auto` takes a GPU only where all of it is proven here; a named engine is an order and is not asked
why. `fastest` is what `engine compare` timed on this host; nothing is timed at a start.
"""

from __future__ import annotations

from dataclasses import dataclass

from engines.bundle import Bundle
from engines.errors import BundleRejected, EngineMissing
from engines.executor import precision_name
from engines.here import devices
from engines.here.devices import Device, is_of_family
from engines.here.records import Record, Records, Row
from engines.known import DEFAULT, ENGINES, Engine, form_of
from engines.names import Chosen, EngineName, FormName, PrecisionName
from engines.names import Engine as EngineId
from engines.tensorrt.libraries import spelled

GPU_ORDER: tuple[EngineId, ...] = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda")
"""In which `auto` asks them."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An engine that `auto` did not take."""

    engine: str
    reason: str

    def __str__(self) -> str:
        return f"not {self.engine}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Choice:
    """What is run, and what a person is told of it."""

    engine: Engine
    precision: Chosen
    passed_over: tuple[PassedOver, ...] = ()
    note: str = ""
    """Of the precision: why it is, or is not, the fastest."""
    is_fastest: bool = False


def choose(
    bundle: Bundle,
    engine: EngineName,
    precision: PrecisionName,
    records: Records | None,
) -> Choice:
    """Engine and precision to open. Raises EngineMissing for a named engine that is not there,
    where its precision is to be the fastest."""
    if engine != "auto":
        return _with_precision(bundle, ENGINES[engine], precision, records)
    passed_over: list[PassedOver] = []
    for name in GPU_ORDER:
        candidate = ENGINES[name]
        try:
            choice = _with_precision(bundle, candidate, precision, records)
            reason = _why_not(bundle, candidate, choice.precision, records)
        except (EngineMissing, BundleRejected) as error:
            reason = str(error)
        if not reason:
            return _told(choice, tuple(passed_over))
        passed_over.append(PassedOver(name, reason))
    choice = _with_precision(bundle, ENGINES[DEFAULT], precision, records)
    return _told(choice, tuple(passed_over))


def require_proof(
    bundle: Bundle, engine: Engine, precision: Chosen, note: str, records: Records | None
) -> None:
    """Raises EngineMissing where `auto` may not run another precision than it chose.

    `note` says what made it another.
    """
    if reason := _why_not(bundle, engine, precision, records):
        raise EngineMissing(
            f"engine '{engine.name}': {'; '.join(filter(None, (note, reason)))}; name an engine "
            "and a precision in [model]"
        )


def _told(choice: Choice, passed_over: tuple[PassedOver, ...]) -> Choice:
    return Choice(choice.engine, choice.precision, passed_over, choice.note, choice.is_fastest)


def compare_command(bundle: Bundle) -> str:
    """What a person types to have this host asked."""
    return f"dicom-node engine compare {bundle.root} --config FILE"


# -- a GPU under `auto` -------------------------------------------------------------------------


def _why_not(
    bundle: Bundle,
    engine: Engine,
    precision: Chosen,
    records: Records | None,
) -> str:
    """Empty where library, device and plan are there, the bundle states its cost, and it passed
    here. Raises EngineMissing or BundleRejected for what is not there."""
    device = devices.gpu()
    library = engine.library()
    form, _ = form_of(bundle.manifest, precision, engine)
    name = precision_name(form)
    capability = device.capability
    if engine.require is None or capability is None:
        raise AssertionError("only engines of a GPU are asked, on a GPU")
    engine.require(bundle, form, capability)
    row = bundle.manifest.precision(name, engine.name)
    if row is None or not row.hardware:
        return f"the bundle states no cost of {name} that was measured on {engine.name}"
    if not is_of_family(row.hardware, capability):
        return (
            f"the bundle's cost of {name} on {engine.name} was measured on {row.hardware}, this is "
            f"compute capability {spelled(capability)}"
        )
    if outside := row.within(bundle.manifest.precision_limits):
        return outside
    return _unproven(bundle, engine, library, name, device, records)


def _unproven(
    bundle: Bundle,
    engine: Engine,
    library: str,
    name: FormName,
    device: Device,
    records: Records | None,
) -> str:
    """Why the kept comparisons do not prove a precision here; empty where one does."""
    if records is None:
        return "outside of a node nothing says whether it passed a comparison on this host"
    command = compare_command(bundle)
    kept = records.of(bundle.digest, engine.name)
    if not kept:
        return f"it was not compared on this host; run: {command}"
    record = _same(kept, library, device)
    if record is None:
        last = kept[0]
        return (
            f"it was compared on {last.compared_on} with {last.library} on {last.device}, driver "
            f"{last.driver}; now it is {library} on {device.name}, driver {device.driver}; run: "
            f"{command}"
        )
    row = record.row(name)
    if row is None or row.verdict != "ok":
        why = row.reason if row else f"{name} was not among what was compared"
        return f"the comparison of {record.compared_on} on this host did not pass: {why}"
    if row.control is None:
        return (
            f"the comparison of {record.compared_on} on this host had no control slide"
            f"{': ' + row.reason if row.reason else ''}; run: {command}"
        )
    return ""


def _same(kept: tuple[Record, ...], library: str, device: Device) -> Record | None:
    return next((record for record in kept if record.is_of(library, device)), None)


# -- the fastest precision ----------------------------------------------------------------------


def _with_precision(
    bundle: Bundle,
    engine: Engine,
    precision: PrecisionName,
    records: Records | None,
) -> Choice:
    if precision != "fastest":
        return Choice(engine, precision)
    if records is None:
        return Choice(
            engine,
            "shipped",
            note="fastest was asked for, and outside of a node nothing is timed: shipped is used",
        )
    device = devices.cpu() if engine.is_of_cpu else devices.gpu()
    library = engine.library()
    try:
        record = _same(records.of(bundle.digest, engine.name), library, device)
    except EngineMissing as unreadable:
        return Choice(
            engine,
            "shipped",
            note=f"fastest was asked for, but {unreadable}: shipped is used",
        )
    timed = [row for row in record.rows if _may_run(bundle, engine, row)] if record else []
    if not timed:
        return Choice(
            engine,
            "shipped",
            note=(
                f"fastest was asked for, and nothing was timed yet for this bundle, {engine.name} "
                f"{library} and {device}: shipped is used; run: {compare_command(bundle)}"
            ),
        )
    best = max(timed, key=lambda row: row.tiles_per_s or 0.0)
    speeds = ", ".join(
        f"{row.precision} {row.tiles_per_s:.0f}"
        for row in sorted(timed, key=lambda row: -(row.tiles_per_s or 0.0))
    )
    note = (
        f"{best.precision} is the fastest here, timed on {best.timed_on} (tiles/s: {speeds}); the "
        f"bundle ships {bundle.manifest.shipped_precision}"
    )
    return Choice(engine, best.precision, note=note, is_fastest=True)


def _may_run(bundle: Bundle, engine: Engine, row: Row) -> bool:
    """Whether a timed precision passed, and the door would let it in."""
    if row.verdict != "ok" or row.tiles_per_s is None:
        return False
    try:
        form_of(bundle.manifest, row.precision, engine)
    except (BundleRejected, EngineMissing):
        return False
    return True
