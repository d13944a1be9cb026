"""Bar C10: the shipped precision beside fp32 on whole slides; fp32 over threads and resume.

python tests/bench/precision.py [--slides 4]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent)]

from big_slides import write
from facts import machine
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from dicom_node.demo import wsm
from engines.bundle import open_bundle
from engines.runtime import PrecisionName, open_runtime
from inference import predict
from inference.phantom.draw import draw
from inference.types import Prediction


def predicted(
    paths: list[Path], precision: PrecisionName, threads: int = 2, resume: Path | None = None
) -> Prediction:
    """The default student on a slide."""
    with open_runtime(open_bundle("default"), precision=precision, threads=threads) as runtime:
        result = predict.predict(paths, runtime, resume=resume)
    if not isinstance(result, Prediction):
        raise SystemExit(f"{paths[0]}: {result.detail}")
    return result


def shifts(exact: Prediction, cheap: Prediction) -> tuple[float, float]:
    """Largest difference of a tile, and the rank correlation, of the map."""
    values = [h.heatmaps[0].values for h in (exact, cheap)]
    known = ~np.isnan(values[0])
    rank = spearmanr(values[0][known], values[1][known]).statistic
    return float(np.abs(values[0][known] - values[1][known]).max()), float(rank)


def slides(count: int, folder: Path) -> dict[str, list[Path]]:
    """Drawn slides, and a large one of real tissue."""
    found = {
        f"drawn {n}": wsm.write_slide(draw(100 + n).pixels, folder / str(n), mpp=0.5)
        for n in range(count)
    }
    found["real tissue, repeated"] = list(write(folder / "real", 20480, tissue=0.5).paths)
    return found


def is_same_everywhere(paths: list[Path], folder: Path) -> bool:
    """Whether fp32 gives the same bytes for 1, 2 and 3 threads and from what a run had kept."""
    found = set()
    for threads, resume in [(1, None), (2, None), (3, None), (2, folder), (1, folder)]:
        predict.save(predicted(paths, "fp32", threads, resume), folder.with_suffix(".npz"))
        found.add(folder.with_suffix(".npz").read_bytes())
    return len(found) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description="The shipped precision beside fp32.")
    parser.add_argument("--slides", type=int, default=4)
    count = parser.parse_args().slides
    table = Table("slide", "tiles", "largest shift of a tile", "heatmap rank")
    with tempfile.TemporaryDirectory() as root:
        for name, paths in slides(count, Path(root)).items():
            exact, cheap = (predicted(paths, p) for p in ("fp32", "shipped"))  # type: ignore[arg-type]
            shift, rank = shifts(exact, cheap)
            table.add_row(name, str(exact.tiles_analyzed), f"{shift:.4f}", f"{rank:.5f}")
        same = is_same_everywhere(paths, Path(root) / "kept")
    console = Console(width=120)
    console.print(machine())
    console.print(table)
    console.print(
        f"fp32, 1 to 3 threads, resumed or not: {'the same bytes' if same else 'DIFFERS'}"
    )


if __name__ == "__main__":
    main()
