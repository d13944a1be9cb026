"""`python -m training.first_student --data DIR --out DIR` makes the shipped bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inference.phantom_plan import Kind
from training.first_student import aggregator, data, describe, export, measure, simulate, train
from training.first_student.augment import centered, restained, stain
from training.first_student.data import TileSet
from training.first_student.encoder import Deployed, Encoder, PrincipalAxes

FOLDERS = ("lc25000_lung_clean", "her2st_spots", "tiles_crc_val_he_7k_32")
STAINS = 8
LIBRARY_TILES = 240
TRAINING_SLIDES, HELD_OUT_SLIDES = 2400, 600
EPOCHS = 12
PROBE_SEED = 1020


@dataclass(frozen=True)
class Sources:
    """The four sources of tiles."""

    lung: TileSet
    spots: TileSet
    phantom: TileSet
    colon: TileSet

    def part(self, *splits: str) -> list[TileSet]:
        """The named splits of the sources that training may see."""
        return [s.part(*splits) for s in (self.lung, self.spots, self.phantom)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and writes the bundle."""
    parser = argparse.ArgumentParser(prog="python -m training.first_student", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="new or empty bundle directory")
    parser.add_argument("--steps", type=int, default=1000, help="batches of 64 for the encoder")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    if any(asked.out.iterdir()):
        parser.error(f"{asked.out} is not empty: give a new directory")
    torch.set_num_threads(1)  # sums in another order would change the weights
    make(asked.data, asked.out, steps=asked.steps, seed=asked.seed)


def make(folder: Path, out: Path, *, steps: int, seed: int) -> None:
    """Writes the bundle made from the data sets in `folder` to the empty directory `out`."""
    sources = Sources(
        data.lung(folder / FOLDERS[0]),
        data.spots(folder / FOLDERS[1]),
        data.phantom(),
        data.colon(folder / FOLDERS[2]),
    )
    encoder = train.fitted(sources.part("train"), steps, seed)
    temperature = train.calibrate(encoder, sources.part("val"))
    rows = _tile_figures(encoder, sources)
    libraries = _libraries(encoder, sources, "train", seed)
    raw_slides = simulate.cohort(libraries, TRAINING_SLIDES, seed)
    axes = PrincipalAxes(torch.from_numpy(raw_slides.means()))
    slides = simulate.cohort(_on_axes(libraries, axes), TRAINING_SLIDES, seed)
    libraries = _on_axes(_libraries(encoder, sources, "test", seed), axes)
    held = simulate.cohort(libraries, HELD_OUT_SLIDES, seed + 1)
    model = aggregator.fitted(slides, EPOCHS, seed)
    risk = aggregator.risks(model, held)
    rows += _slide_figures(risk, held)
    reference = _reference(slides)
    rows.append(_flagged(held, reference))
    _write(Deployed(encoder, axes).eval(), model, out)
    content = describe.manifest(
        digest=data.digest(_used_files(folder)),
        metrics=rows,
        percentiles=np.percentile(risk, np.arange(101)),
        reference=reference,
    )
    export.write_manifest(content, out)
    text = describe.card(rows, temperature=temperature, limit=reference[2], steps=steps, seed=seed)
    (out / "card.md").write_text(text, encoding="utf-8")
    export.write_sums(out)
    for name, (value, low, high), source in rows:
        print(f"{name}: {value:.3f} [{low:.3f}, {high:.3f}] {source}")
    print(f"temperature {temperature:.2f}")


def _tile_figures(encoder: Encoder, sources: Sources) -> list[describe.Row]:
    rows: list[describe.Row] = []
    cases = (
        (sources.lung, "LC25000 test groups", True),
        (sources.spots, "HER2+ breast, patient B, clear spots resampled", False),
        (sources.colon, "32 colon tiles, 4 of them tumor; external", False),
        (sources.phantom, "3 drawn slides, fields resampled", False),
    )
    for tiles, source, grouped in cases:
        part = tiles.part("test")
        _, score = train.encoded(encoder, part.images, part.mpp)
        known = part.clear
        units = part.group[known] if grouped else np.arange(known.sum()).astype(str)
        columns = part.tumor[known].astype(float), score[known].astype(float)
        for name, figure in (("tumor AUC", measure.auc), ("tumor accuracy", measure.accuracy)):
            rows.append((name, measure.interval(figure, units, *columns), source))
        if tiles is sources.spots:
            units = np.arange(len(part)).astype(str)
            found = measure.interval(
                measure.correlation, units, part.fraction.astype(float), score.astype(float)
            )
            rows.append(("Spearman with epithelium", found, "HER2+ breast, patient B, all spots"))
    return rows


def _slide_figures(risk: NDArray[np.float64], held: simulate.Cohort) -> list[describe.Row]:
    units = np.arange(len(risk)).astype(str)
    outcome = held.months.astype(float), held.event.astype(float)
    truth = held.log_hazard().astype(float)
    source = f"{len(risk)} held-out simulated slides, simulated outcomes"
    breast = np.arange(len(risk)) % 3 == 1  # simulate.cohort takes the sources in turn
    columns = [column[breast] for column in (risk, *outcome)]
    return [
        (
            "C-index of risk, other breast patient",
            measure.interval(measure.concordance, units[breast], *columns),
            f"the {breast.sum()} of them made of patient B's spots",
        ),
        ("C-index of risk", measure.interval(measure.concordance, units, risk, *outcome), source),
        (
            "C-index of the formula itself",
            measure.interval(measure.concordance, units, truth, *outcome),
            source,
        ),
        (
            "Spearman of risk with tumor share",
            measure.interval(measure.correlation, units, risk, held.tumor.astype(float)),
            source,
        ),
    ]


def _libraries(encoder: Encoder, sources: Sources, split: str, seed: int) -> list[simulate.Library]:
    """Features of up to LIBRARY_TILES tiles of each source as scanned and under random stains."""
    rng = np.random.default_rng(seed)
    light = torch.Generator().manual_seed(seed + (split == "test"))
    libraries = []
    for tiles in sources.part(split):
        at = np.sort(rng.permutation(len(tiles))[:LIBRARY_TILES])
        images = centered(tiles.images[at], tiles.mpp, data.TILE_PX)
        features = [train.encoded(encoder, images, train.MPP)[0]]
        for _ in range(STAINS - 1):
            matrix, color = stain(1, light)
            features.append(train.encoded(encoder, _stained(images, matrix, color), train.MPP)[0])
        libraries.append(
            simulate.Library(
                tiles.source, np.stack(features), tiles.fraction[at], tiles.lymphoid[at]
            )
        )
    return libraries


def _stained(
    images: NDArray[np.uint8], matrix: torch.Tensor, color: torch.Tensor
) -> NDArray[np.uint8]:
    stained = np.empty_like(images)
    for at, image in enumerate(images):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().unsqueeze(0)
        again = restained(pixels, matrix, color)[0].round().byte()
        stained[at] = again.permute(1, 2, 0).numpy()
    return stained


def _on_axes(libraries: list[simulate.Library], axes: PrincipalAxes) -> list[simulate.Library]:
    with torch.inference_mode():
        return [
            replace(library, features=axes(torch.from_numpy(library.features)).numpy())
            for library in libraries
        ]


def _distance(
    means: NDArray[np.float32], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[B] as OutOfDistribution of the manifest defines it."""
    distance: NDArray[np.float32] = np.sqrt((((means - mean) / std) ** 2).mean(axis=1))
    return distance


def _reference(slides: simulate.Cohort) -> describe.Reference:
    """Mean [D], std [D] of slide features and the 99.9th percentile of the distance."""
    means = slides.means()
    mean, std = means.mean(axis=0), means.std(axis=0)
    return mean, std, float(np.percentile(_distance(means, mean, std), 99.9))


def _flagged(held: simulate.Cohort, reference: describe.Reference) -> describe.Row:
    mean, std, limit = reference
    far = (_distance(held.means(), mean, std) > limit).astype(float)
    units = np.arange(len(far)).astype(str)
    source = f"{len(far)} held-out simulated slides, one third of another patient's tiles"
    return (
        "share flagged as unlike training",
        measure.interval(lambda flags: float(flags.mean()), units, far),
        source,
    )


def _write(deployed: Deployed, model: aggregator.Aggregator, out: Path) -> None:
    tiles = np.stack([image for kind, image in _probe_fields() if kind != Kind.GLASS])
    export.write_graph("encoder", deployed, torch.from_numpy(tiles), out)
    with torch.inference_mode():
        features, _ = deployed(torch.from_numpy(tiles))
    export.write_graph("aggregator", model, features.clone(), out)
    export.write_probe(tiles, out)


def _probe_fields() -> list[tuple[Kind, NDArray[np.uint8]]]:
    """The first drawn field of each kind."""
    fields = data.fields(PROBE_SEED)
    best = {Kind(int(share.argmax())): image for image, share in reversed(fields)}
    return sorted(best.items())


def _used_files(folder: Path) -> list[Path]:
    tiles = [
        path
        for name in FOLDERS
        for path in (folder / name).rglob("*")
        if path.suffix in (".csv", ".jpg", ".jpeg", ".png")
    ]
    here = Path(__file__).parent
    drawing = (here.parent.parent / "inference").glob("phantom*.py")
    return [*tiles, *here.glob("*.py"), *drawing]


if __name__ == "__main__":
    main()
