#!/bin/sh
# Passes every check of the project on a fresh machine: installs what the tests need, then runs
# format, lint, types and tests, in this order, and stops at the first failure.
#   sh tests/run.sh [ARGUMENTS]        arguments for pytest
#   sh tests/run.sh whole [ARGUMENTS]  the same with the tests that are marked long
#   sh tests/run.sh long [ARGUMENTS]   the long hunt (tests/long/kills.py) in place of the checks;
#                                      what it prints is kept in build/long-*.log
#   VENV=DIR            where the virtual environment goes (default .venv)
#   TEST_PROCESSES=N    how many test files run at a time (default 3)
set -eu
cd "$(dirname "$0")/.."
VENV="${VENV:-.venv}"
PACKAGES="dcmtk dicom3tools pixelmed-apps orthanc orthanc-dicomweb chromium chromium-driver
libturbojpeg0 strace openssl postgresql nodejs npm python3-venv"

missing=""
for package in $PACKAGES; do
    case "$package" in
        nodejs) command -v node >/dev/null 2>&1 && continue ;;
        npm) command -v npm >/dev/null 2>&1 && continue ;;
        python3-venv) python3 -c "import ensurepip" 2>/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "== Debian packages:$missing"
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -q >/dev/null
    # shellcheck disable=SC2086  # the list is meant to be split
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing >/dev/null
fi

echo "== virtual environment: $VENV"
[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
"$VENV/bin/python" -m pip install -q -c constraints.txt torch==2.13.0
"$VENV/bin/python" -m pip install -q -c constraints.txt -e ".[test,training]"

if [ "${1:-}" = long ]; then
    shift
    mkdir -p build
    kept="build/long-$(date +%Y%m%d-%H%M).log"
    echo "== long hunt: $kept"
    # A pipe ends with the status of tee, so the hunt's own is its last line.
    { "$VENV/bin/python" tests/long/kills.py "$@" 2>&1 && echo 0 || echo "$?"; } | tee "$kept"
    exit "$(tail -n 1 "$kept")"
fi

# Of tests that kill a node at every point there is, a part is enough for every day.
marked="not long"
if [ "${1:-}" = whole ]; then
    shift
    marked=""
fi

echo "== format, lint, types"
"$VENV/bin/ruff" format --check .
"$VENV/bin/ruff" check .
"$VENV/bin/mypy"

# Thousands of processes are started: each would compile the project's modules again.
unset PYTHONDONTWRITEBYTECODE

# Most tests wait for nodes, PACS and browsers of their own: three files at a time. One that waited
# in vain, and nothing else, is run once more, and named at the end: the machine may have been busy.
echo "== tests"
exec "$VENV/bin/python" -m pytest -n "${TEST_PROCESSES:-3}" --dist loadfile \
    --no-loadscope-reorder --reruns 1 --only-rerun TooLate -rR -m "$marked" "$@"
