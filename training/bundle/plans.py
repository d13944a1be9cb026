"""Plans of an exported bundle, compiled ahead of time: a hospital installs a compiled student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.bundle import Bundle, open_bundle
from engines.errors import BundleRejected, EngineMissing
from engines.executor import ENCODER, precision_name
from engines.names import FormName
from engines.runtime import prepare
from engines.tensorrt.cuda import load_cuda
from engines.tensorrt.gate import forms
from engines.tensorrt.libraries import TENSORRT, TENSORRT_RTX, Capability, Library, PlanEngine
from engines.tensorrt.plans import FOLDER
from training.errors import TrainingError

LIBRARIES: dict[PlanEngine, Library] = {
    library.engine: library for library in (TENSORRT_RTX, TENSORRT)
}


def require_compilers(engines: Sequence[PlanEngine], targets: Sequence[Capability]) -> None:
    """Raises TrainingError where a library or a GPU of the order cannot be had: before anything is
    written."""
    try:
        for engine in engines:
            library = LIBRARIES[engine]
            release = library.load().__version__
            if library.needs_device:
                load_cuda(engine)
                continue
            for target in targets:
                library.target(release, target)
    except EngineMissing as missing:
        raise TrainingError(f"{missing}; nothing was exported") from missing


def add_plans(
    root: Path, engines: Sequence[PlanEngine], targets: Sequence[Capability]
) -> list[Path]:
    """Compiles every graph of a bundle, in every precision TensorRT is given, into its `plans/`.

    TensorRT itself compiles for the GPU that is here, whatever the targets. The bundle's digest
    stays what it is. Raises TrainingError with the compiler's node and reason.
    """
    found: dict[Path, None] = {}
    try:
        bundle = open_bundle(root)
        for engine in engines:
            names = _precisions(bundle, engine)
            places = (None,) if LIBRARIES[engine].needs_device else tuple(targets)
            for precision in names:
                for place in places:
                    written = prepare(bundle, engine, precision, lambda *_: None, place)
                    found |= dict.fromkeys(root / FOLDER / name for name in written)
    except (BundleRejected, EngineMissing) as error:
        raise TrainingError(f"plans: {error}; the bundle is written, without them") from error
    return list(found)


def _precisions(bundle: Bundle, engine: PlanEngine) -> list[FormName]:
    """Those that the node would run on it."""
    limits = bundle.manifest.precision_limits
    return [
        precision_name(form)
        for graph, form in forms(bundle, engine)
        if graph == ENCODER and (form is None or not form.within(limits))
    ]
