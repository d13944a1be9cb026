"""The model card of the shipped bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.default_student.describe import VERSION
from training.default_student.expression import PROGRAMS, TARGETS
from training.default_student.simulate import HAZARD, TIMES_MONTHS
from training.default_student.tiles import Row

Cells = dict[str, tuple[float, float]]
"""By role: correlation, and correlation beyond total counts."""


@dataclass(frozen=True)
class Told:
    """What the card tells beside the figures."""

    temperature: float
    limit: float
    steps: tuple[int, int]
    seed: int
    expression: list[tuple[str, Cells]]


def card(metrics: list[Row], told: Told) -> str:
    """The model card in Markdown."""
    table = "\n".join(
        f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) | {data} |"
        for name, (value, low, high), data in metrics
    )
    return _CARD.format(
        version=VERSION,
        times=", ".join(f"{time:g}" for time in TIMES_MONTHS),
        hazard=HAZARD,
        table=table,
        expression=_expression(told.expression),
        targets=TARGETS,
        programs=", ".join(PROGRAMS),
        temperature=told.temperature,
        limit=told.limit,
        first=told.steps[0],
        second=told.steps[1],
        seed=told.seed,
    )


def _expression(rows: list[tuple[str, Cells]]) -> str:
    roles = ("color", "null", "twin", "distilled")
    lines = [f"| target | {' | '.join(roles)} |", "|---|" + "---|" * len(roles)]
    for name, cells in rows:
        shown = (
            f"{cells[role][0]:.2f}"
            + ("" if np.isnan(cells[role][1]) else f" / {cells[role][1]:.2f}")
            for role in roles
        )
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


_CARD = """\
# Demonstration student, version {version}

**Research only. The outcomes it was fitted to are simulated. It predicts nothing about a patient.**
It exists so that the node has a real model to run: real graphs, a real heatmap, real digests.
Do not use it for diagnosis, prognosis or treatment.

## What it computes

- Encoder: a convolutional network (1.4 million weights, 0.21 GMAC per tile), from a tile of
  224 x 224 pixels at 0.5 um per pixel to 64 features and the probability that it shows tumor. The
  features are 128 learned ones and 6 of color, turned to vary independently among slides.
- Aggregator: gated attention over the features of all tiles of a slide, then a risk score and
  survival probabilities at {times} months by discrete proportional hazards. The risk is the
  logarithm of a hazard ratio against the mean simulated training slide.

Both see pixels only. In training both were also taught by what pixels do not show: expression.

## What it was trained on

- Lung: the leakage-free subset of LC25000, 2,079 tiles of the training groups. Adenocarcinoma and
  squamous cell carcinoma are tumor, benign lung is not. The spacing of these tiles is
  undocumented; 0.5 um per pixel is our estimate from the size of red blood cells.
- Breast: spots of HER2-positive tumors, patient C sections C2 to C5, with the expression measured
  in the same spots. Labels are weak: the target rises from 0 at 15 % to 1 at 65 % epithelial cells,
  and the share of epithelial cells was itself estimated from expression. Benign epithelium,
  carcinoma in situ and invasive carcinoma are not told apart.
- Drawn tiles of the node's own phantom: glass, stroma, glands, tumor-like nests, lymphocytes, fat,
  pen and folds. They are drawings.
- {first} batches of 64 random views (turns, scale, stain, light, blur, JPEG) of lung and drawn
  tiles, then {second} with the spots, seed {seed}. The logit is divided by a temperature of
  {temperature:.2f}, fitted on validation tiles, every source weighing the same.

## What was distilled

- Tile level, real: a teacher, a logistic regression on {targets} values of expression (total
  counts; {programs}; selected genes) of a spot, gives soft targets for tumor; each spot is
  answered by a teacher fitted on other sections. The encoder learns them beside the weak labels
  and reconstructs the {targets} values (scaled cosine error and squared error). The twin has the
  same first stage, views and steps without these terms; for the null, the spots of a section
  exchanged their expression.
- Slide level, on simulated slides: a teacher that also sees the pseudo-bulk expression of the bag,
  cross-fitted by section; the student guesses the teacher's risk and the pseudo-bulk by two
  auxiliary heads that are not exported. Lung and drawn tiles have no expression and no teacher.

## What was simulated

The slides of the aggregator are random bags of the tiles above, the breast ones each of one
section, and **every survival time was drawn by this formula**, not observed: {hazard}.
The expression in the formula is real, its effect on survival is written down. A high risk score
therefore says at most: many tiles looked like tumor, few like lymphocytes.

## What was measured (95 % bootstrap interval)

| figure | value | data |
|---|---|---|
{table}

## Expression read from pixels on the other patient

Pearson's correlation over the 283 spots of patient B, then the same after a straight line of the
logarithm of total counts is taken out of both. Features are read by one ridge regression fitted on
patient C; "color" is mean and spread of the three colors alone.

{expression}

Much of what looks like a predicted gene is the number of transcripts a spot gave, that is, how
many cells it holds: spots of patient B gave 650 transcripts at the median, and a single found
transcript is mostly a matter of depth. Beyond total counts little is left. **No expression output
is shipped therefore**: none of HER2 amplicon, ERBB2, EPCAM or immune holds up well enough on the
one other patient, and a value for a whole slide could not be checked with two patients at all.

## Known weaknesses

- Two breast patients: one trains, one tests. Intervals resample spots or simulated slides of
  these; they say nothing about a third patient.
- The labels of the breast spots and the teacher's expression come from the same counts; the
  teacher's own figures are circular and only show what could be taught.
- Lung benign and malignant tiles of LC25000 differ in color and density so much that almost any
  classifier separates them; that figure does not carry over to other slides. An interval from
  1.000 to 1.000 only says that no test tile was ranked wrongly.
- Tumor of other organs, other stains and other scanners was seen only as the 32 colon tiles,
  which are too few to say how well it does; they were looked at between versions of the
  training, so the figure is not untouched. Debris, stroma, muscle and normal mucosa of the
  colon are often called tumor: there was no real tile of them to learn from.
- Distillation helps on another section of the patient it was trained on, both at the tile level
  and at the slide level, and not on the other patient: there the tile level gains nothing in
  expression, and the risk orders the simulated slides worse than that of the undistilled twin. The
  tumor AUC on patient B is higher than the twin's, but so is that of the null, within intervals of
  each other. The shipped student is the distilled one all the same; the twin stands beside it.
- The C-index over all simulated slides comes from lung and drawn tiles, where the formula knows no
  expression. On slides of the other breast patient's spots it is hardly above chance (0.5).
- One training run each, one seed: the intervals hold only the luck of spots and slides.
- The phantom figure says nothing about tissue.
- A slide whose mean feature lies farther than {limit:.2f} from that of the simulated training
  slides is flagged as unlike them. A slide that is not flagged can still be unlike them.

## Licenses of the data

No data are shipped: the probe holds drawn tiles only. LC25000 was released for research without an
explicit license. The article on the breast data is CC BY 4.0, its repository has no license file.
The colon data are CC BY 4.0.
"""
