"""How long `dicom-node demo` takes, from a wheel in an empty environment without torch.

python tests/bench/demo.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET_S = 60.0


def install(folder: Path) -> Path:
    """The `bin` folder of a new environment with the wheel; fails when torch is in it."""
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    binaries = folder / "venv" / "bin"
    constraints = ROOT / "constraints.txt"
    (wheel,) = folder.glob("*.whl")
    subprocess.run([binaries / "pip", "install", "-q", "-c", constraints, wheel], check=True)
    torch = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    subprocess.run([binaries / "python", "-c", torch], check=True)
    return binaries


def seconds(rounds: int) -> list[float]:
    """Wall seconds of each demo; every one must exit 0. The first compiles the byte code."""
    measured = []
    with tempfile.TemporaryDirectory() as name:
        binaries = install(Path(name))
        for number in range(rounds):
            started = time.monotonic()
            out = Path(name) / f"out-{number}"
            command = [binaries / "dicom-node", "demo", "--out", out]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=name)
            measured.append(time.monotonic() - started)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    measured = seconds(parser.parse_args().rounds)
    worst = max(measured)
    print(
        f"dicom-node demo: median {statistics.median(measured):.1f} s, "
        f"first {measured[0]:.1f} s, worst {worst:.1f} s, target < {TARGET_S:.0f} s"
    )
    return int(worst >= TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
