"""`python -m training.bundle.rewritten BUNDLE OUT --version X.Y.Z`: a bundle, written as today.

For a bundle whose weights are to stay and whose graphs and manifest are of earlier days: each graph
becomes what the exporters write now (training/learning/compilable.py), proven equal bit by bit on
the bundle's own exam, and the manifest gets the newest version; `--say KEY=JSON` fills what the
old one could not say. `default` 0.4.0 was made so from 0.3.0, and 0.5.0 from 0.4.0.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from engines.bundle import MANIFEST_FILE, Bundle, open_bundle
from engines.manifest.reading import newest
from inference.durable import whole_folder
from training.bundle.compilers import ask_compilers
from training.bundle.precisions import TAKEN_BY
from training.errors import TrainingError
from training.learning.compilable import compilable
from training.learning.graphs import run, write_manifest, write_sums


def rewritten(
    source: Bundle, out: Path, version: str, said: Mapping[str, object] | None = None
) -> Path:
    """Writes the bundle to the new directory `out`; its path. `said` are keys of the manifest.

    Raises TrainingError where `out` is there, and where a rewritten graph gives other bits on the
    exam than before; nothing is left then.
    """
    if out.exists():
        raise TrainingError(f"{out}: found files, expected a new directory; give another")
    with whole_folder(out) as made:
        _write(source, made, version, said or {})
    return out


def _write(source: Bundle, out: Path, version: str, said: Mapping[str, object]) -> None:
    ignored = shutil.ignore_patterns("plans")
    shutil.copytree(source.root, out, ignore=ignored, dirs_exist_ok=True)
    for graph_name, file in _graphs(source):
        onnx.save(compilable(onnx.load(source.file(file))), out / file)
        _require_same_bits(source, graph_name, file, out)
    content = newest(json.loads((out / MANIFEST_FILE).read_text(encoding="utf-8")))
    before, content["version"] = content["version"], version
    for row in content.get("precisions", ()):
        row["engines"] = TAKEN_BY[row["name"]]
    write_manifest(content | dict(said), out)
    card = out / "card.md"
    text = card.read_text(encoding="utf-8").replace(before, version)
    card.write_text(text, encoding="utf-8")
    write_sums(out)
    ask_compilers(out)


def _graphs(bundle: Bundle) -> list[tuple[str, str]]:
    """(graph, file) of every ONNX file of the bundle."""
    files = [(name, graph.file) for name, graph in bundle.manifest.graphs.items()]
    return files + [("encoder", p.file) for p in bundle.manifest.precisions if p.file is not None]


def _require_same_bits(source: Bundle, graph_name: str, file: str, out: Path) -> None:
    probe = source.probe()
    given = {t.name: probe[f"{graph_name}/in/{t.name}"]
             for t in source.manifest.graphs[graph_name].inputs}  # fmt: skip
    before, after = (run(root / file, given) for root in (source.root, out))
    for tensor, values in before.items():
        if not np.array_equal(values, after[tensor]):
            raise TrainingError(
                f"{file}/{tensor}: found other bits after rewriting, expected the same: a rule of "
                "training/learning/compilable.py changes numbers"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrites one bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="a shipped name or a directory")
    parser.add_argument("out", type=Path, help="a new directory")
    parser.add_argument("--version", required=True)
    parser.add_argument("--say", nargs="+", default=[], metavar="KEY=JSON")
    asked = parser.parse_args(arguments)
    said = {key: json.loads(value) for key, _, value in (s.partition("=") for s in asked.say)}
    print(rewritten(open_bundle(asked.bundle), asked.out, asked.version, said))


if __name__ == "__main__":
    main()
