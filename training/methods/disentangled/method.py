"""Disentangled two-stage distillation for glioma: teacher with genes, student from slides alone.

After arXiv 2508.16479, as its code has it. A teacher per magnification lets the genes of the tumor
and of its microenvironment query the slide; a student per magnification gathers the slide into two
tokens that learn to be the teacher's two halves. Stage 1 trains the student alone, stage 2 goes on
under the teacher. At inference only the student is left. The twin goes through both stages too, the
second without a teacher: it has been trained as long.

Not in the original, each behind a switch: bags of some 40 region features without coordinates fill
a square of side 8, which has no spatial meaning, and of regions at one magnification the second is
derived from the first; the targets of a training patient come from a teacher that did not see the
patient; patients without genes train no teacher and get no targets; a survival target is the
distribution of the time of death. `published()` has the original's choices.
"""

from __future__ import annotations

from training.learning.fitted import Fitted
from training.learning.journal import Journal
from training.learning.split import Split
from training.learning.trained import both_rules
from training.methods.disentangled.genes import subspaces
from training.methods.disentangled.losses import Targets
from training.methods.disentangled.settings import Settings, published
from training.methods.disentangled.stages import Fold, knows, sees
from training.methods.disentangled.student import SlideStudent
from training.methods.disentangled.tokens import Slides

__all__ = ["Settings", "fit", "published"]


def fit(split: Split, settings: Settings, seed: int, journal: Journal) -> Fitted:
    """Twin, teacher and student of one fold, on both magnifications where the split has them."""
    fold = Fold(
        split.task,
        settings,
        seed,
        journal,
        Slides(split.train, settings.side),
        Slides(split.valid, settings.side),
        subspaces(split.genes.columns, split.genes.groups, settings.gene_lists),
    )
    test = Slides(split.test, settings.side)
    _, alone = fold.stage_one()
    teacher, taught = fold.teach("teacher", fold.train.subset(fold.measured()))
    targets = fold.targets(teacher, taught)
    student, distilled = fold.stage_two("student", alone, targets)
    teaching = (knows(teacher, part, settings.merge) for part in (test, fold.valid))
    scores = both_rules("teacher", teacher, taught, next(teaching), split, next(teaching))
    others: dict[str, Targets | None] = {"twin": None}
    if settings.null:
        others["null"] = targets.shuffled(seed)
    for role, given in others.items():
        other, states = fold.stage_two(role, alone, given)
        seeing = (sees(other, part) for part in (test, fold.valid))
        scores |= both_rules(role, other, states, next(seeing), split, next(seeing))
    seeing = (sees(student, part) for part in (test, fold.valid))
    scores |= both_rules("student", student, distilled, next(seeing), split, next(seeing))
    facts = {
        "parameters": float(sum(p.numel() for p in student.parameters())),
        "teacher_parameters": float(sum(p.numel() for p in teacher.parameters())),
        "tumor_genes": float(len(fold.genes[0])),
        "microenvironment_genes": float(len(fold.genes[1])),
        "patients_with_genes": float(targets.known.sum()),
        "order_agreement": fold.order_agreement(student, targets),
    }
    return Fitted(scores, SlideStudent(student, survives=split.task.kind == "survival"), facts)
