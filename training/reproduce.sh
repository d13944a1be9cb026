#!/bin/sh
# Everything behind the tables in training/LOG.md, from the data to the report.
#   sh training/reproduce.sh DATA OUT [JOBS]
# DATA holds the folders hipt_vit4k, porpoise, tcga_cdr, kather_cbio, glioma_labels and
# brca_receptors; PUBLISHED (optional) is a CSV of published rows. What is finished is not run
# again. SEEDS (default 3) seeds; G-HANet on all five cohorts takes about half an hour on two cores.
set -eu
DATA=$1
OUT=$2
JOBS=${3:-2}
SEEDS=${SEEDS:-3}
train() {
    dicom-train fit "$@" --data "$DATA" --jobs "$JOBS"
}

for cohort in blca brca gbmlgg luad ucec; do
    train crossfit --cohort $cohort --extended --seeds "$SEEDS" --out "$OUT/runs/crossfit-$cohort"
    train abmil --cohort $cohort --seeds "$SEEDS" --out "$OUT/runs/abmil-$cohort"
    train ghanet --cohort $cohort --set twin=false --out "$OUT/runs/ghanet-$cohort"
done
for task in os diagnosis grading; do
    train disentangled --cohort gbmlgg --task $task --seeds "$SEEDS" --out "$OUT/runs/disentangled-$task"
done
for task in er pr her2; do
    for folds in official site; do
        train mkd --cohort brca --task $task --folds $folds --seeds "$SEEDS" --out "$OUT/runs/mkd-$task-$folds"
        train pooled --cohort brca --task $task --folds $folds --out "$OUT/runs/pooled-$task-$folds"
    done
done

dicom-train evaluate "$OUT"/runs/* --json "$OUT/report.json" --html "$OUT/report.html" \
    ${PUBLISHED:+--published "$PUBLISHED"}
[ -e "$OUT/default-bundle/manifest.json" ] ||
    python -m training.default_student --data "$DATA" --out "$OUT/default-bundle"
