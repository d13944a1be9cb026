#!/bin/sh
# Collects, where there is a network, what deploy/gpu/measure.sh needs where there is none.
#   sh deploy/gpu/kit.sh KIT SLIDE     SLIDE: a folder with one DICOM whole-slide study
#   TAG=cp312   the Python of the other machine
set -eu
cd "$(dirname "$0")/../.."
KIT="$1"
mkdir -p "$KIT/wheels"
cp -r "$2" "$KIT/slide"
pin() { grep -i "^$1==" constraints.txt; }
# With a CUDA build of torch on the other machine nvidia-* packages are there; else add [cuda,cudnn].
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp \
    --python-version "$(echo "${TAG:-cp312}" | sed 's/cp\(.\)/\1./')" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$KIT/wheels" \
    "onnxruntime-gpu==$(pin onnxruntime | cut -d= -f3)" \
    "$(pin tensorrt_rtx_cu13_libs)" "$(pin tensorrt_rtx_cu13_bindings)" "$(pin cuda-bindings)" \
    "$(pin cuda-pathfinder)" "$(pin pydantic)" "$(pin pydantic_core)" "$(pin annotated-types)" \
    "$(pin typing-inspection)" "$(pin structlog)" "$(pin pydicom)" "$(pin wsidicom)" \
    "$(pin marshmallow)" "$(pin cachetools)" "$(pin dicomweb-client)" "$(pin retrying)" \
    "$(pin universal_pathlib)" "$(pin pathlib_abc)" "$(pin imagecodecs)" "$(pin simplejpeg)" \
    "$(pin pyjpegls)"
du -sh "$KIT"
