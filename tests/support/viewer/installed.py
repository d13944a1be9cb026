"""dicom-microscopy-viewer and the driver of the browser, from npm, once for all tests."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cache import CACHE, one_at_a_time

SUPPORT = Path(__file__).parent
HOME = CACHE / "viewer"


def installed() -> Path:
    """node_modules with the viewer, installed once into the cache; skips where it cannot be."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    with one_at_a_time("viewer.lock"):
        _install()
    return HOME / "node_modules"


def _install() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    wanted = (SUPPORT / "package-lock.json").read_bytes()
    done_file = HOME / "installed.json"  # written last: a broken installation is repeated
    if not done_file.exists() or done_file.read_bytes() != wanted:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SUPPORT / name, HOME)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            pytest.skip(f"npm could not install the viewer: {done.stderr.strip()[-400:]}")
        done_file.write_bytes(wanted)


def pages(modules: Path) -> list[Path]:
    """What the server has to serve beside DICOM."""
    distribution = modules / "dicom-microscopy-viewer" / "dist"
    return [
        SUPPORT / "viewer.html",
        modules / "dicomweb-client" / "build" / "dicomweb-client.js",
        *(p for p in distribution.rglob("*") if p.suffix in (".js", ".wasm")),
    ]
