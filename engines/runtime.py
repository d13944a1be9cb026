"""One door to every runtime: named arrays in and out, checked on both sides.

`open_runtime` chooses engine and precision, compiles the graphs and sits the bundle's probe before
it hands the runtime over, so a runtime that exists has given the right answers on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from engines.arrays import check, difference, probe_array
from engines.bundle import Bundle
from engines.errors import BundleRejected, DeviceFailed, DeviceLost
from engines.executor import Arrays, Executor, precision_name
from engines.here.choosing import Choice, PassedOver, choose, require_proof
from engines.here.records import Records
from engines.known import DEFAULT, ENGINES, Engine, form_of
from engines.manifest.precision import Precision
from engines.manifest.whole import Manifest
from engines.names import Chosen, EngineName, Opened, PrecisionName
from engines.tensorrt.compiler import Progress
from engines.tensorrt.libraries import Capability

Lost = Callable[[Opened, DeviceLost], None]
"""What a process does when the device of what was opened is lost: it may end itself there and
then."""


class Runtime:
    """A bundle on an engine, probe passed. Arrays returned belong to the caller.

    `run` may be called by several threads. A tile's encoder outputs in fp32 on a CPU engine are
    bit-identical for any number and order of tiles in a call, any thread and any `lanes`.
    """

    def __init__(
        self,
        bundle: Bundle,
        executor: Executor,
        precision: Precision | None,
        note: str = "",
        lost: Callable[[DeviceLost], None] | None = None,
    ) -> None:
        self.bundle = bundle
        self.manifest: Manifest = bundle.manifest
        self.note = note
        """Why the shipped precision is not used, empty where it is."""
        self.passed_over: tuple[PassedOver, ...] = ()
        """Engines that `auto` did not take, with the reasons."""
        self.is_fastest = False
        """Whether the precision was asked for as the fastest, and timed as such on this host."""
        self.opened: Opened
        """What to ask for to have the same again; only where `open_runtime` examined it."""
        self._executor = executor
        self._precision = precision
        self._lost = lost or _ignore

    @property
    def engine(self) -> str:
        """Engine, version, precision and device, for the report."""
        said = self._executor.description
        return f"{said}, fastest here" if self.is_fastest else said

    @property
    def precision(self) -> str:
        """Precision of the encoder; the aggregator always runs in fp32."""
        return precision_name(self._precision)

    @property
    def lanes(self) -> int:
        """Threads that may run the encoder at the same time with profit."""
        return self._executor.lanes

    @property
    def batch(self) -> int:
        """Tiles in a call of the encoder that keep a lane busy."""
        return self._executor.batch

    def run(self, graph_name: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of a graph by tensor name.

        Raises ValueError when names, dtypes or shapes differ from the manifest (a programming
        error of the caller) and DeviceFailed when the engine breaks or breaks its promise. Where
        the device is lost, `lost` is called first.
        """
        graph = self.manifest.graphs[graph_name]
        axes: dict[str, int] = {}
        check(graph.inputs, arrays, f"{graph_name} input", axes)
        try:
            outputs = self._executor.run(graph_name, arrays)
        except DeviceLost as error:
            self._lost(error)
            raise
        try:
            check(graph.outputs, outputs, f"{graph_name} output", axes)
        except ValueError as error:
            raise DeviceFailed(f"{self.engine}: {error}") from error
        return outputs

    def tolerance(self, key: str) -> float:
        """Largest difference allowed of `<graph>/<tensor>` from the probe in this precision."""
        own = self._precision.tolerance if self._precision else {}
        return own.get(key, self.manifest.probe.tolerance[key])

    def sit_probe(self) -> dict[str, float]:
        """Largest absolute difference per `<graph>/<tensor>`; BundleRejected above tolerance."""
        differences = {
            key: difference(found, expected) for key, found, expected in self.answer_probe()
        }
        for key, off_by in differences.items():
            if not off_by <= self.tolerance(key):  # NaN must fail too
                raise BundleRejected(
                    f"{self.bundle.file(self.manifest.probe.file)}: {key} is off by "
                    f"{off_by:.3g} on {self.engine}, tolerance {self.tolerance(key):.3g}; "
                    "these numbers are not the bundle's: use fp32, or another engine"
                )
        return differences

    def answer_probe(self) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
        """`<graph>/<tensor>`, what came out here, and what the bundle expects."""
        probe = self.bundle.probe()
        for graph_name, graph in self.manifest.graphs.items():
            inputs = {
                t.name: probe_array(self.bundle, probe, graph_name, "in", t) for t in graph.inputs
            }
            outputs = self.run(graph_name, inputs)
            for tensor in graph.outputs:
                expected = probe_array(self.bundle, probe, graph_name, "out", tensor)
                yield f"{graph_name}/{tensor.name}", outputs[tensor.name], expected


@contextmanager
def open_runtime(
    bundle: Bundle,
    *,
    engine: EngineName = "auto",
    precision: PrecisionName = "shipped",
    threads: int = 0,
    build_plans: bool = False,
    records: Records | None = None,
    lost: Lost | None = None,
    again: Opened | None = None,
) -> Iterator[Runtime]:
    """A runtime that has passed the bundle's probe; `threads` 0 means all cores.

    `auto` is a GPU where the bundle's cost on it and a comparison kept in `records` prove it on
    this host, else OpenVINO on the CPU. `shipped` is the bundle's own choice where the engine
    computes it here as it was measured, else fp32, and the runtime's `note` says why; `fastest` is
    what `records` say, or `shipped`. Raises
    EngineMissing for an engine or a precision that cannot be had here and BundleRejected for a
    precision that the bundle lacks or that is outside its limits, and when the probe fails.
    With `build_plans` an engine that needs plans for this device builds the missing ones first,
    which takes minutes. `lost` is called, on the thread that finds out, when the device is lost.
    With `again` nothing is chosen: it is what was open before, whatever was compared since.
    """
    choice = choose(bundle, engine, precision, records) if again is None else _same(again)
    chosen = choice.engine
    opened = Opened(chosen.name, choice.precision, choice.is_fastest)
    try:
        if build_plans:
            prepare(bundle, chosen.name, choice.precision, _silent)
        examined, note = choice.precision, ""
        if examined == "shipped":
            examined, note = _examined(bundle, chosen, threads)
            if engine == "auto" and examined == "fp32" and not chosen.is_of_cpu:
                require_proof(bundle, chosen, examined, note, records)
        opened = replace(opened, precision=examined)
        ends = None if lost is None else partial(lost, opened)
        with open_unexamined(bundle, chosen, examined, threads, ends) as runtime:
            runtime.opened = opened
            runtime.sit_probe()
            _tell(runtime, choice, note)
            yield runtime
    except DeviceLost as error:  # also where it was lost before there was a runtime
        if lost is not None:
            lost(opened, error)
        raise


def _same(again: Opened) -> Choice:
    return Choice(ENGINES[again.engine], again.precision, is_fastest=again.is_fastest)


def _tell(runtime: Runtime, choice: Choice, note: str) -> None:
    """What was chosen and why, for whoever reads the runtime."""
    runtime.note = "; ".join(said for said in (choice.note, runtime.note or note) if said)
    runtime.passed_over = choice.passed_over
    runtime.is_fastest = choice.is_fastest


def _examined(bundle: Bundle, engine: Engine, threads: int) -> tuple[Chosen, str]:
    """The shipped precision, or fp32 and why: a CPU without the right instructions may round an
    int8 graph otherwise than where it was measured."""
    if bundle.manifest.shipped_precision == "fp32":
        return "fp32", ""
    with open_unexamined(bundle, engine, "shipped", threads) as runtime:
        if runtime.precision == "fp32":
            return "fp32", runtime.note
        try:
            runtime.sit_probe()
        except BundleRejected as rejected:
            return "fp32", f"{runtime.precision} is shipped, but {rejected}: fp32 is used"
    return bundle.manifest.shipped_precision, ""


@contextmanager
def open_unexamined(
    bundle: Bundle,
    engine: Engine,
    precision: Chosen,
    threads: int,
    lost: Callable[[DeviceLost], None] | None = None,
) -> Iterator[Runtime]:
    """A runtime that may give wrong numbers: for comparing engines, never for a patient."""
    form, note = form_of(bundle.manifest, precision, engine)
    # fp32 has a row, too, where it was measured on an engine of a GPU: its tolerance is meant.
    row = form or bundle.manifest.precision("fp32", engine.name)
    with engine.open(bundle, form, threads) as executor:
        yield Runtime(bundle, executor, row, note, lost)


def prepare(
    bundle: Bundle,
    engine: EngineName,
    precision: Chosen,
    progress: Progress,
    capability: Capability | None = None,
) -> list[str]:
    """Names of the files that an engine needs for a GPU, built where they are missing.

    By default for the GPU that is here. Empty for an engine that needs none. Raises as
    `open_runtime` does.
    """
    chosen = ENGINES[DEFAULT if engine == "auto" else engine]
    form, _ = form_of(bundle.manifest, precision, chosen)
    return [] if chosen.prepare is None else chosen.prepare(bundle, form, progress, capability)


def _ignore(error: DeviceLost) -> None:
    """Of a process that goes on without its device, as a command that ends soon does."""


def _silent(phase: str, done: int, steps: int) -> None:
    """The progress of a build at the node's start: nobody looks."""
