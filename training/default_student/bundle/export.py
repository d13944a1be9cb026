"""From the weights of a training to the bundle: measured, chosen, written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.phantom.plan import Kind
from training.bundle.compilers import ask_compilers
from training.bundle.costs import Bag
from training.bundle.precisions import Material, add_precisions
from training.default_student import data
from training.default_student.aggregator import Center
from training.default_student.augment import centered
from training.default_student.bundle import card, figures, held, manifest, simulate
from training.default_student.bundle.figures import Tests
from training.default_student.bundle.held import Held
from training.default_student.bundle.said import Said, by_student, by_teacher
from training.default_student.data import TILE_PX
from training.default_student.encoder import PrincipalAxes
from training.default_student.tissue import densenet, gather, student, tiles
from training.default_student.tissue.learn import ROLES
from training.learning.graphs import write_graph, write_manifest, write_probe, write_sums

SEED = 0
PROBE_SEED = 1020
SOURCES = ("lung", "breast", "colon", "drawn")


@dataclass(frozen=True)
class Role:
    """One of the trained networks, its temperatures and all that was measured of it."""

    encoder: student.TissueEncoder
    temperatures: tuple[float, float]
    agreement: list[held.Figure]
    figures: list[held.Figure]
    said: dict[str, Said]


def export(fit: Path, gathered: Path, teacher_file: Path, folder: Path, out: Path) -> str:
    """Writes the bundle to the empty directory `out`; what compilers say of its graphs.

    `fit` holds the weights and the log of `fit`, `gathered` is the file of tiles it was given,
    `folder` the data folder.
    """
    torch.set_num_threads(1)  # sums in another order would change figures in the last digit
    every, teacher = tiles.read(gathered), densenet.read(teacher_file)
    kept, tests = held.held_tiles(every, teacher), figures.load(folder)
    roles = {name: _measured(student.read(fit / f"{name}.npz"), kept, tests) for name in ROLES}
    ships = held.chosen({name: role.agreement for name, role in roles.items()})
    taught = by_teacher(teacher, tests.images("colon"))
    shipped = roles[ships]
    axes, reference, flagged = _reference(shipped.encoder, folder, tests)
    write(student.DeployedTissue(shipped.encoder, axes).eval(), out)
    truth = tests.tissue()
    errors = figures.share_errors(truth, shipped.said["colon"].classes.argmax(axis=1), SEED)
    calibration = figures.calibration(tests, shipped.said)
    told = card.Told(
        ships=ships,
        roles={
            name: card.OfRole(role.agreement, role.figures, role.said["colon"].classes)
            for name, role in roles.items()
        },
        teacher=card.OfRole([], figures.tissue(tests, taught), taught),
        truth=truth,
        temperatures=shipped.temperatures,
        calibration=calibration,
        spots=len(tests.breast),
        errors=errors,
        limit=reference.limit,
        flagged=flagged,
        log=json.loads((fit / "log.json").read_text(encoding="utf-8")),
    )
    content = manifest.manifest(
        digest=data.digest([gathered, teacher_file, *(fit / f"{name}.npz" for name in ROLES)]),
        figures=[*shipped.figures, *shipped.agreement],
        limits=card.limits(told),
        calibration=calibration,
        spots=len(tests.breast),
        errors=errors,
        reference=reference,
    )
    write_manifest(content, out)
    (out / "card.md").write_text(card.card(told), encoding="utf-8")
    write_sums(out)
    add_precisions(out, _material(every, tests))
    return ask_compilers(out)


def _measured(encoder: student.TissueEncoder, kept: Held, tests: Tests) -> Role:
    """The encoder with its temperatures set, and its figures."""
    first = by_student(encoder, kept.images)
    tumor, classes = held.temperatures(kept, first)
    encoder.temperature.fill_(tumor)
    encoder.class_temperature.fill_(classes)
    said = {name: by_student(encoder, tests.images(name)) for name in SOURCES}
    return Role(
        encoder,
        (tumor, classes),
        held.agreement(kept, first.cooled(tumor, classes)),
        [*figures.tissue(tests, said["colon"].classes), *figures.tumor(tests, said)],
        said,
    )


def _reference(
    encoder: student.TissueEncoder, folder: Path, tests: Tests
) -> tuple[PrincipalAxes, simulate.Reference, float]:
    """The axes that features are turned to, what a slide is compared with, and which share of
    slides of held tiles would be flagged."""
    lung, spots = data.lung(folder / "lc25000_lung_clean"), data.spots(folder / "her2st_spots")
    slides = {name: gather.real_slide(folder, name) for name in gather.SLIDES}
    breast = centered(spots.images, spots.mpp, TILE_PX)
    training: simulate.Units = {
        "lung": {"lung": lung.part("train").images},
        "spots": {name: breast[spots.group == name]
                  for name in np.unique(spots.part("train").group)},
        "drawn": {"drawn": data.phantom("train").images},
        "slides": {name: images[~kept] for name, (images, kept) in slides.items()},
    }  # fmt: skip
    others: simulate.Units = {
        "lung": {"lung": tests.images("lung")},
        "spots": {"B4": tests.images("breast")},
        "drawn": {"drawn": tests.images("drawn")},
        "slides": {name: images[kept] for name, (images, kept) in slides.items()},
    }
    libraries = simulate.libraries(encoder, training, "train", SEED)
    raw = simulate.means(libraries, simulate.TRAINING_SLIDES, SEED)
    axes = PrincipalAxes(torch.from_numpy(raw))
    reference = simulate.reference(simulate.on_axes(raw, axes))
    libraries = simulate.libraries(encoder, others, "test", SEED)
    held_out = simulate.means(libraries, simulate.HELD_OUT_SLIDES, SEED + 1)
    turned = simulate.on_axes(held_out, axes)
    far = simulate.distance(turned, reference.mean, reference.std) > reference.limit
    return axes, reference, float(far.mean())


def write(deployed: student.DeployedTissue, out: Path) -> None:
    """Both graphs and the exam, a drawn field of each kind, into the directory `out`."""
    fields = np.stack([image for kind, image in _probe_fields() if kind != Kind.GLASS])
    with torch.inference_mode():
        features, _, _ = deployed(torch.from_numpy(fields))
    _graph("encoder", deployed, torch.from_numpy(fields), out)
    _graph("aggregator", Center(), features.clone(), out)
    write_probe(("encoder", "aggregator"), {"tiles": fields}, out)


def _graph(name: str, module: torch.nn.Module, example: torch.Tensor, out: Path) -> None:
    names = (manifest.INPUTS[name], *manifest.OUTPUTS[name])
    write_graph(
        name,
        module,
        (example,),
        out,
        inputs=names[:1],
        outputs=names[1:],
        dynamic={tensor: {0: "N"} for tensor in names if tensor in manifest.PER_TILE},
    )


def _probe_fields() -> list[tuple[Kind, NDArray[np.uint8]]]:
    """Of each kind the drawn field that shows most of it."""
    fields = data.fields(PROBE_SEED)
    shares = np.array([share for _, share in fields])
    found = [(kind, int(shares[:, kind].argmax())) for kind in Kind]
    return [(kind, fields[at][0]) for kind, at in found]


def _material(every: tiles.Tiles, tests: Tests) -> Material:
    """Training tiles to calibrate with; tiles of the tests as 40 slides of 150 to measure on."""
    rng = np.random.default_rng(SEED)
    calibration = _training(every, rng)
    held_out = np.concatenate([_drawn(tests.images(name), 250, rng) for name in SOURCES])
    return Material(
        calibration=calibration,
        held_out=held_out,
        bags=[Bag(rng.choice(len(held_out), 150, replace=False)) for _ in range(40)],
        told=f"{len(held_out)} tiles of LC25000 test groups, HER2+ breast patient B, drawn slides "
        f"and colon, and 40 slides of 150 of them; calibrated on {len(calibration)} training tiles",
    )


def _training(every: tiles.Tiles, rng: np.random.Generator) -> NDArray[np.uint8]:
    """64 of each source that were not held, at 0.5 um/px."""
    found = []
    for source in range(len(tiles.SOURCES)):
        at = rng.permutation(np.flatnonzero((every.source == source) & ~every.held))[:64]
        found.append(centered(every.some(at).images(), float(every.mpp[at[0]]), TILE_PX))
    return np.concatenate(found)


def _drawn(images: NDArray[np.uint8], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return images[rng.permutation(len(images))[:count]]
