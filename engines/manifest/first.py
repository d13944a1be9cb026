"""Version 1 of the manifest, as bundles before 2 have it, said in the words of version 2.

What version 1 did not say is said to be unknown. Its precisions named no engine: they keep the
engines they were used on.
"""

from __future__ import annotations

from typing import Any

from engines.names import ENGINES

KEYS = {
    *("schema_version", "name", "version", "title", "manufacturer", "status", "intended_use"),
    *("input", "graphs", "finding", "outputs", "applicability", "out_of_distribution", "training"),
    *("probe", "precisions", "precision_limits", "shipped_precision"),
}
STATUS = ("research", "product")


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2; `content` stays as it is.

    Raises ValueError for a key that version 1 does not have. What is malformed otherwise is left
    for the model of version 2 to refuse.
    """
    unknown = sorted(content.keys() - KEYS)
    if unknown:
        raise ValueError(f"{unknown[0]}: version 1 of the manifest has no such key")
    if content.get("status") not in STATUS:
        raise ValueError(f"status: version 1 of the manifest knows {' and '.join(STATUS)}")
    new = content | {"schema_version": 2, "unit": "slide", "licence": "not stated"}
    new["outputs"] = [_output(o) for o in _list(content, "outputs")]
    if "precisions" in content:
        new["precisions"] = [_precision(p) for p in _list(content, "precisions")]
    training = content.get("training")
    if isinstance(training, dict):
        new["performance"] = [_performance(m) for m in _list(training, "metrics")]
        new["training"] = {k: v for k, v in training.items() if k != "metrics"}
    reference = content.get("out_of_distribution")
    if isinstance(reference, dict):
        _no_key(reference, "out_of_distribution", "method")
        new["out_of_distribution"] = {"method": "mean-feature-distance"} | reference
    if isinstance(content.get("applicability"), dict):
        _no_key(content["applicability"], "applicability", "specimens")
    return new


def _list(content: dict[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list | tuple):
        raise ValueError(f"{key}: expected a list")
    return list(found)


def _output(output: Any) -> Any:
    if not isinstance(output, dict):
        return output
    _no_key(output, "outputs", "uncertainty", "shows", "classes", "threshold", "floor", "organs")
    kind = output.get("kind")
    if kind not in ("score", "survival", "heatmap"):
        raise ValueError(f"outputs: version 1 of the manifest has no kind {kind}")
    if kind != "heatmap":
        return output
    type_ = output.get("type")
    attention = isinstance(type_, dict) and type_.get("value") == "attention"
    return output | {"kind": "map", "shows": "attention" if attention else "finding"}


def _precision(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    _no_key(row, "precisions", "engines", "hardware", "tile_classes")
    return row | {"engines": list(ENGINES)}


def _performance(metric: Any) -> Any:
    if not isinstance(metric, dict):
        return metric
    _no_key(metric, "training.metrics", "figure", "level", "subgroup", "count")
    return {("figure" if k == "name" else k): v for k, v in metric.items()}


def _no_key(part: dict[str, Any], where: str, *keys: str) -> None:
    for key in keys:
        if key in part:
            raise ValueError(f"{where}.{key}: version 1 of the manifest has no such key")
