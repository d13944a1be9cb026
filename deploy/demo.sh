#!/bin/sh
# Sets up a virtual environment, installs the node into it and runs `dicom-node demo`.
#   VENV=DIR   where the virtual environment goes (default .venv)
set -eu
cd "$(dirname "$0")/.."
VENV="${VENV:-.venv}"
if [ ! -x "$VENV/bin/python" ]; then
    if python3 -c "import ensurepip" 2>/dev/null; then
        python3 -m venv "$VENV"
    else
        # Debian keeps venv in a package of its own; virtualenv needs only pip.
        python3 -m pip install -q --user --break-system-packages virtualenv
        python3 -m virtualenv -q "$VENV"
    fi
fi
echo "Installing into $VENV (about a minute the first time) ..."
"$VENV/bin/python" -m pip install -q -c constraints.txt .
exec "$VENV/bin/dicom-node" demo "$@"
