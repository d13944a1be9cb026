#!/bin/sh
# Measures the engines of a machine with an NVIDIA GPU and no network, in ten minutes at most: what
# TensorRT for RTX answers there, parity with the CPU, tiles per second of the encoder alone and
# from a slide's files to its prediction, first-run and warm times. Writes OUT/DATE-gpu.md.
#   sh deploy/gpu/measure.sh KIT [OUT [ARGUMENTS of measure.py]]
#   KIT/wheels/*.whl   packages that the machine lacks (sh deploy/gpu/kit.sh KIT, where there is
#                      a network); KIT/slide/  one DICOM whole-slide study, real or drawn
#   PYTHON=python3     with torch in it, ResNet-18 and ViT-S shapes are measured too
set -eu
KIT="$(cd "$1" && pwd)"
mkdir -p "${2:-build/gpu}"
OUT="$(cd "${2:-build/gpu}" && pwd)"
cd "$(dirname "$0")/../.."
PYTHON="${PYTHON:-python3}"
SITE="${SITE:-$KIT/site}"
[ -d "$SITE" ] || "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$SITE" "$KIT"/wheels/*.whl
# CUDA's libraries as pip installed them beside the interpreter, if it did.
FOUND="$("$PYTHON" -c "
import pathlib, sysconfig
print(':'.join(map(str, pathlib.Path(sysconfig.get_path('purelib')).glob('nvidia/*/lib'))))")"
export LD_LIBRARY_PATH="$FOUND${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONPATH="$SITE:$PWD:$PWD/tests/bench${PYTHONPATH:+:$PYTHONPATH}"
[ $# -lt 2 ] && shift || shift 2
exec "$PYTHON" deploy/gpu/measure.py "$KIT/slide" "$OUT" "$@"
