"""The bench's report: `ood.json` for programs, `ood.md` for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engines.manifest.foreign import FEWEST_SOURCES, LEAST_AUROC, MOST_FALSE_ALARMS
from engines.runtime import Runtime
from training.foreign.bench import LIMIT, Measured
from training.foreign.changed import CHANGES
from training.foreign.figures import Figures, figures, flagged
from training.runs.units import write_json

_SYNTHETIC = (*CHANGES, "drawn")


def write(found: Measured, runtime: Runtime, out: Path) -> str:
    """Writes both files into the folder; the text of the second."""
    by_score = {
        score: figures(found.of(score, "ordinary"), found.of(score, "foreign"))
        for score in found.over_limit
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "ood.json", _content(found, by_score, runtime))
    text = "\n".join(_lines(found, by_score, runtime)) + "\n"
    (out / "ood.md").write_text(text, encoding="utf-8")
    return text


def _content(found: Measured, by_score: dict[str, Figures], runtime: Runtime) -> dict[str, object]:
    manifest = runtime.manifest
    return {
        "bundle": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": runtime.bundle.digest,
            "engine": runtime.engine,
        },
        "unit": "source",
        "bar": {
            "auroc": LEAST_AUROC,
            "false_alarms": MOST_FALSE_ALARMS,
            "sources_of_each_kind": FEWEST_SOURCES,
        },
        "limit_percentile": LIMIT,
        "scores": {
            score: {
                **one.content(),
                "measured": one.measured.model_dump(),
                "synthetic": {kind: vars(flagged(found.of(score, kind))) for kind in _SYNTHETIC},
            }
            for score, one in by_score.items()
        },
        "sources": [
            {
                "name": source.name,
                "kind": source.kind,
                "what": source.what,
                "tiles": source.tiles,
                "over_limit": {s: float(v[row]) for s, v in found.over_limit.items()},
            }
            for row, source in enumerate(found.sources)
        ],
        "left_out": list(found.left_out),
    }


def _lines(found: Measured, by_score: dict[str, Figures], runtime: Runtime) -> Iterator[str]:
    manifest = runtime.manifest
    counts = {
        kind: sum(source.kind == kind for source in found.sources)
        for kind in ("reference", "ordinary", "foreign")
    }
    yield f"# Foreign slides: {manifest.name} {manifest.version}"
    yield ""
    yield f"Bundle {runtime.bundle.digest[:12]}, {runtime.engine}. The unit is a source, never a"
    yield f"tile: {counts['reference']} set the limits ({LIMIT} % of bags of as many tiles drawn"
    yield f"from each, against the others), {counts['ordinary']} other ordinary ones,"
    yield f"{counts['foreign']} foreign ones. Intervals are 95 %."
    yield ""
    yield "| score | AUROC | false alarms | hits | bar |"
    yield "|---|---|---|---|---|"
    for score, one in by_score.items():
        a = one.auroc
        bar = "met" if one.measured.is_enough else "not met"
        yield (
            f"| {score} | {a.value:.2f} ({a.low:.2f} to {a.high:.2f}) | {one.false_alarms} | "
            f"{one.hits} | {bar} |"
        )
    yield ""
    yield (
        f"Bar: AUROC at least {LEAST_AUROC}, false alarms at most {MOST_FALSE_ALARMS:.0%}, "
        f"{FEWEST_SOURCES} sources of each kind or more."
    )
    yield ""
    yield "Synthetic changes of the ordinary sources, and drawings; how many are flagged:"
    yield ""
    yield f"| score | {' | '.join(_SYNTHETIC)} |"
    yield "|---|" + "---|" * len(_SYNTHETIC)
    for score in by_score:
        hit = [flagged(found.of(score, kind)) for kind in _SYNTHETIC]
        yield f"| {score} | {' | '.join(f'{one.some} of {one.all}' for one in hit)} |"
    yield ""
    yield "Each real source, score over limit (above 1 it is flagged):"
    yield ""
    yield f"| source | kind | tiles | {' | '.join(by_score)} |"
    yield "|---|---|---|" + "---|" * len(by_score)
    for row, source in enumerate(found.sources):
        if source.kind in counts:
            values = " | ".join(f"{found.over_limit[score][row]:.2f}" for score in by_score)
            yield f"| {source.name} | {source.kind} | {source.tiles} | {values} |"
    yield ""
    yield f"Left out: {'; '.join(found.left_out) or 'nothing'}."
