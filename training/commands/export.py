"""`dicom-train export`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from engines.tensorrt.libraries import Capability, PlanEngine, read_capability

_ENGINES: tuple[PlanEngine, ...] = ("tensorrt-rtx", "tensorrt")
_ANY_FAMILY: tuple[Capability, ...] = ((8, 9),)
"""One plan of TensorRT for RTX serves 8.6, 8.9 and 12.x."""


@dataclass(frozen=True, slots=True)
class Export:
    """A bundle of one unit of a run."""

    run: Path
    encoder: str
    out: Path
    name: str
    version: str
    fold: int
    seed: int
    engines: list[PlanEngine]
    """Whose plans are compiled into the bundle."""
    targets: list[Capability]


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--encoder", required=True, metavar="BUNDLE",
                        help="the bundle whose encoder made the features")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--engines", nargs="+", default=[], choices=_ENGINES, metavar="ENGINE",
        help=f"compile the bundle's plans for {' or '.join(_ENGINES)}; the first needs no GPU",
    )  # fmt: skip
    parser.add_argument(
        "--targets", nargs="+", default=list(_ANY_FAMILY), type=_capability, metavar="X.Y",
        help="compute capabilities that plans of tensorrt-rtx are for; default: 8.9, which is also "
        "for 8.6 and 12.x",
    )  # fmt: skip
    parser.set_defaults(arguments=Export)


def _capability(text: str) -> Capability:
    try:
        return read_capability(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: Export) -> int:
    """Writes the bundle and says how to try it."""
    from training.bundle.compilers import ask_compilers
    from training.bundle.export import Request, better_method, export
    from training.bundle.plans import add_plans, require_compilers

    require_compilers(arguments.engines, arguments.targets)
    out = export(
        Request(
            run=arguments.run,
            encoder=arguments.encoder,
            out=arguments.out,
            name=arguments.name,
            version=arguments.version,
            fold=arguments.fold,
            seed=arguments.seed,
        )
    )
    print(ask_compilers(out))
    for plan in add_plans(out, arguments.engines, arguments.targets):
        print(f"{plan}: a plan")
    if better := better_method(arguments.run):
        print(f"note: for this task {better} measured better; dicom-train fit takes it by itself")
    print(f"{out}: a bundle; next: dicom-node engine compare {out}")
    return 0
