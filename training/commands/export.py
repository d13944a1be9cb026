"""`dicom-train export`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from engines.manifest.values import Code
from engines.tensorrt.libraries import Capability, PlanEngine, read_capability
from training.errors import TrainingError

_ENGINES: tuple[PlanEngine, ...] = ("tensorrt-rtx", "tensorrt")
_ORGANS = {
    "bladder": "89837001", "brain": "12738006", "breast": "76752008", "colon": "71854001",
    "kidney": "64033007", "liver": "10200004", "lung": "39607008", "pancreas": "15776009",
    "skin": "39937001", "stomach": "69695003", "uterus": "35039007",
}  # fmt: skip
"""Of SNOMED CT, as Primary Anatomic Structure Sequence has them (PS3.16 CID 8134)."""
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
    all: bool
    beside: Path | None
    organ: list[Code]
    unit: Literal["slide", "case"]
    fixture: bool
    floor: float
    class_code: list[tuple[str, Code]]
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
    parser.add_argument("--all", action="store_true",
                        help="the student of everybody, of fit --all")  # fmt: skip
    parser.add_argument("--beside", type=Path, metavar="RUN",
                        help="the same on the other folds, for the card")  # fmt: skip
    parser.add_argument(
        "--organ", nargs="+", default=[], type=_organ, metavar="ORGAN",
        help=f"where it may be used: {', '.join(_ORGANS)}, or VALUE:SCHEME:MEANING; default: as "
        "the encoder",
    )  # fmt: skip
    parser.add_argument("--unit", choices=["slide", "case"], default="slide",
                        help="what a node shows it at once: a slide, or all slides of a study; "
                        "its figures are of that")  # fmt: skip
    parser.add_argument("--fixture", action="store_true",
                        help="say that its numbers mean nothing")  # fmt: skip
    parser.add_argument(
        "--floor", type=_floor, default=0.5, metavar="P",
        help="of a student of classes: below this probability none is named (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--class-code", nargs="+", default=[], type=_class_code, metavar="CLASS=CODE",
        help="the code of a class, as CLASS=VALUE:SCHEME:MEANING; default: codes of the bundle",
    )  # fmt: skip
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


def _organ(text: str) -> Code:
    value, _, rest = text.partition(":")
    scheme, _, meaning = rest.partition(":")
    if text in _ORGANS:
        value, scheme, meaning = _ORGANS[text], "SCT", text
    try:
        return Code(value=value, scheme=scheme, meaning=meaning)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected one of {', '.join(_ORGANS)}, or VALUE:SCHEME:MEANING"
        ) from error


def _class_code(text: str) -> tuple[str, Code]:
    name, _, code = text.partition("=")
    value, _, rest = code.partition(":")
    scheme, _, meaning = rest.partition(":")
    try:
        return name, Code(value=value, scheme=scheme, meaning=meaning)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected CLASS=VALUE:SCHEME:MEANING, value and scheme of at most 16 "
            "characters"
        ) from error


def _floor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a probability below 1")
    return value


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

    coded = [name for name, _ in arguments.class_code]
    if twice := sorted({name for name in coded if coded.count(name) > 1}):
        raise TrainingError(
            f"--class-code: found two codes of class {twice[0]}, expected one; leave one out"
        )
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
            everybody=arguments.all,
            beside=arguments.beside,
            organs=tuple(arguments.organ),
            unit=arguments.unit,
            is_fixture=arguments.fixture,
            floor=arguments.floor,
            class_codes=dict(arguments.class_code),
        )
    )
    print(ask_compilers(out))
    for plan in add_plans(out, arguments.engines, arguments.targets):
        print(f"{plan}: a plan")
    if better := better_method(arguments.run):
        print(f"note: for this task {better} measured better; dicom-train fit takes it by itself")
    print(f"{out}: a bundle; next: dicom-node engine compare {out}")
    return 0
