"""`dicom-train encoder`: a bundle of a tile encoder alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.commands.words import count
from training.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder, and what its file does not say."""

    source: str
    out: Path
    name: str
    version: str
    licence: str | None
    mpp: float | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    batch: int
    stain: str
    manufacturer: str


def add(parser: argparse.ArgumentParser) -> None:
    """Its flags."""
    parser.add_argument("source", metavar="SOURCE",
                        help="a bundle, FILE.onnx, timm:NAME@WEIGHTS, timm:NAME@random, "
                        "local-dir:FOLDER, hipt:WEIGHTS, hipt:random; with a network timm:NAME, "
                        "hf-hub:OWNER/NAME")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--licence", metavar="TEXT",
                        help="of the weights, for the card and every student; a bundle says "
                        "it")  # fmt: skip
    parser.add_argument("--mpp", type=float, metavar="UM",
                        help="spacing it was trained at, micrometers per pixel; a bundle says "
                        "it")  # fmt: skip
    for key in ("mean", "std"):
        parser.add_argument(f"--{key}", type=float, nargs=3, metavar=("R", "G", "B"),
                            help="of colors / 255, where an ONNX file takes floats")  # fmt: skip
    parser.add_argument("--batch", type=count, default=16, metavar="N", help="tiles at once")
    parser.add_argument("--stain", choices=["he", "any"], default="he",
                        help="what it may be used on; he: hematoxylin and eosin")  # fmt: skip
    parser.add_argument("--manufacturer", default="not stated", metavar="TEXT")
    parser.set_defaults(arguments=Encoder)


def run(arguments: Encoder) -> int:
    """Writes the bundle and says what comes next."""
    from training.bundle.compilers import ask_compilers
    from training.bundle.encoder import EncoderRequest, make_encoder
    from training.bundle.encoder_graph import Colors

    if (arguments.mean is None) != (arguments.std is None):
        raise TrainingError("found one of --mean and --std, expected both or neither")
    colors = None
    if arguments.mean is not None and arguments.std is not None:
        if min(arguments.std) <= 0:
            raise TrainingError(f"--std: found {min(arguments.std):g}, expected more than 0")
        (r, g, b), (s, t, u) = arguments.mean, arguments.std
        colors = Colors((r, g, b), (s, t, u))
    out = make_encoder(
        EncoderRequest(
            source=arguments.source,
            out=arguments.out,
            name=arguments.name,
            licence=arguments.licence,
            mpp=arguments.mpp,
            version=arguments.version,
            colors=colors,
            batch=arguments.batch,
            stain=arguments.stain,
            manufacturer=arguments.manufacturer,
        )
    )
    print(ask_compilers(out))
    print(f"{out}: an encoder; next: dicom-train features SLIDES --encoder {out} --out features")
    return 0
