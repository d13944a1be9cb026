"""Words of a report that need explaining, and what they mean: only those that stand in it."""

from __future__ import annotations

import re

from dicom_node.view.page.markup import card, facts

_WORDS = (
    (r"\bOS\b|Overall Survival", "OS, overall survival",
     "The time until death of any cause."),
    (r"\bRisk score\b", "Risk score",
     "A number that puts slides in order, usually the logarithm of a hazard ratio. It has no unit "
     "and no normal range: alone it says little, beside others it says which is higher."),
    (r"Percentile", "Percentile",
     "Of 100 of the reference cohort, how many have a lower value. A rank, not a probability."),
    (r"probability", "Probability",
     "A chance that the model calculated. It is as good as the data that the model was made with, "
     "and is not known for this patient."),
    (r"\b[Tt]iles?\b|\bpatch", "Tile, patch",
     "A small square of the slide. The model looks at one at a time and gives it one value."),
    (r"[Hh]eatmap", "Heatmap",
     "A color for each tile by its value, from 0 (dark purple) to 1 (yellow)."),
    (r"[Aa]ttention", "Attention",
     "How much a tile weighed in the number of the slide. It is where the model looked and no "
     "finding."),
    (r"\bthreshold\b", "Threshold",
     "The value from which a tile belongs to a region. Another threshold gives another region."),
    (r"\bpreliminary\b", "Preliminary, unverified",
     "A program made the report. No person has checked it."),
)  # fmt: skip
"""What stands in the report, the word, what it means."""


def glossary(text: str) -> str:
    """A card of the words that stand in `text`, HTML; empty where none does."""
    text = re.sub(r"<[^>]*>", " ", text)
    found = [(word, meaning) for pattern, word, meaning in _WORDS if re.search(pattern, text)]
    return card("Words used here", facts(found, "glossary"), "wide") if found else ""
