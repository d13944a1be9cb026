"""`python -m training.default_student --data DIR --out DIR` makes the shipped bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.phantom.plan import Kind
from training.bundle.precisions import Material, add_precisions
from training.default_student import data, describe, measure, slides, tiles, train
from training.default_student.aggregator import Center
from training.default_student.encoder import Deployed
from training.default_student.expression import Expression
from training.default_student.tiles import Encoders, Sources
from training.learning.graphs import write_graph, write_manifest, write_probe, write_sums

STEPS = (350, 400)
PROBE_SEED = 1020


@dataclass(frozen=True)
class Trained:
    """The student and everything measured on it."""

    encoder: Deployed
    rows: list[tiles.Row]
    told: describe.Told
    reference: slides.Reference


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and writes the bundle."""
    parser = argparse.ArgumentParser(prog="python -m training.default_student", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="new or empty bundle directory")
    parser.add_argument(
        "--steps", type=int, nargs=2, default=STEPS, help="batches of 64 without and with the spots"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    if any(asked.out.iterdir()):
        parser.error(f"{asked.out} is not empty: give a new directory")
    torch.set_num_threads(1)  # sums in another order would change the weights
    sources, found = tiles.load(asked.data)
    steps = (asked.steps[0], asked.steps[1])
    encoders = tiles.encoders(sources, found, steps, asked.seed)
    trained = finished(encoders, sources, found, steps, asked.seed)
    write(trained, digest(asked.data), asked.out)
    add_precisions(asked.out, material(sources, asked.seed))
    for name, (value, low, high), source in trained.rows:
        print(f"{name}: {value:.3f} [{low:.3f}, {high:.3f}] {source}")


def finished(
    encoders: Encoders, sources: Sources, found: Expression, steps: tuple[int, int], seed: int
) -> Trained:
    """Everything after the encoders: temperature, figures, simulated slides."""
    temperature = train.calibrate(encoders.distilled, sources.part("val"))
    encoded = tiles.encoded_spots(encoders, sources.spots)
    rows = tiles.tumor_rows(encoders.distilled, sources, found, encoded)
    split = sources.spots.split
    near = tiles.predicted(encoded, found, split == "train", split == "val")
    rows += tiles.mean_rows(near, "another section of patient C, C6, all spots resampled")
    read = tiles.predicted(encoded, found, split == "train", split == "test")
    other = "HER2+ breast, patient B, all spots resampled"
    rows += [*tiles.mean_rows(read, other), *tiles.single_rows(read, other)]
    made = slides.simulated(encoders.distilled, sources, found, seed)
    reference = slides.reference(made.training)
    rows.append(slides.flagged(made.held, reference))
    score = encoded["distilled"][1][split == "test"].astype(float)
    truth = sources.spots.part("test").tumor.astype(float)
    calibration = describe.Calibration(*measure.calibration(truth, score))
    table = describe.expression_table(tiles.expression_table(read))
    return Trained(
        Deployed(encoders.distilled, made.axes).eval(),
        rows,
        describe.Told(temperature, reference.limit, steps, seed, table, calibration),
        reference,
    )


def write(trained: Trained, made_from: str, out: Path) -> None:
    """Writes the bundle to the empty directory `out`."""
    fields = np.stack([image for kind, image in _probe_fields() if kind != Kind.GLASS])
    with torch.inference_mode():
        features, _ = trained.encoder(torch.from_numpy(fields))
    given = {"encoder": torch.from_numpy(fields), "aggregator": features.clone()}
    graph("encoder", trained.encoder, given["encoder"], out)
    graph("aggregator", Center(), given["aggregator"], out)
    write_probe(("encoder", "aggregator"), {"tiles": fields}, out)
    content = describe.manifest(
        digest=made_from,
        metrics=trained.rows,
        reference=trained.reference,
        calibration=trained.told.calibration,
    )
    write_manifest(content, out)
    (out / "card.md").write_text(describe.card(trained.rows, trained.told), encoding="utf-8")
    write_sums(out)


def graph(name: str, module: torch.nn.Module, example: torch.Tensor, out: Path) -> Path:
    """Writes a graph of the bundle with the tensors that its manifest names."""
    names = (describe.INPUTS[name], *describe.OUTPUTS[name])
    return write_graph(
        name,
        module,
        (example,),
        out,
        inputs=names[:1],
        outputs=names[1:],
        dynamic={tensor: {0: "N"} for tensor in names if tensor in describe.PER_TILE},
    )


def material(sources: Sources, seed: int) -> Material:
    """Training tiles to calibrate with, and held-out tiles as 40 slides of 150 to measure on."""
    rng = np.random.default_rng(seed)

    def drawn(parts: Sequence[data.TileSet], count: int) -> NDArray[np.uint8]:
        return np.concatenate([p.images[rng.permutation(len(p))[:count]] for p in parts])

    calibration = drawn(sources.part("train"), 64)
    held_out = drawn([*sources.part("test"), sources.colon], 250)
    return Material(
        calibration=calibration,
        held_out=held_out,
        bags=[rng.choice(len(held_out), 150, replace=False) for _ in range(40)],
        told=f"{len(held_out)} tiles of LC25000 test groups, HER2+ breast patient B, drawn slides "
        f"and colon, and 40 slides of 150 of them; calibrated on {len(calibration)} training tiles",
    )


def digest(folder: Path) -> str:
    """SHA-256 of what decides the weights and figures: data, and the code of this package but for
    the wording of the card (describe.py), of the shared losses, and of the phantom.
    """
    files = [
        path
        for name in tiles.FOLDERS
        for path in (folder / name).rglob("*")
        if path.suffix in (".csv", ".npz", ".jpg", ".jpeg", ".png")
    ]
    here = Path(__file__).parent
    code = [path for path in here.glob("*.py") if path.name not in ("describe.py", "shipped.py")]
    shared = [here.parent / "learning" / "losses.py"]
    drawing = (here.parent.parent / "inference" / "phantom").glob("*.py")
    return data.digest([*files, *code, *shared, *drawing])


def _probe_fields() -> list[tuple[Kind, NDArray[np.uint8]]]:
    """Of each kind the drawn field that shows most of it."""
    fields = data.fields(PROBE_SEED)
    shares = np.array([share for _, share in fields])
    found = [(kind, int(shares[:, kind].argmax())) for kind in Kind]
    return [(kind, fields[at][0]) for kind, at in found]


if __name__ == "__main__":
    main()
