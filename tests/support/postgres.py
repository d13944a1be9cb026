"""A PostgreSQL server of the tests' own: started when first asked for, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from ports import free_port

_HOME = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # its files live as long as the tests do
    "max_connections": "200",
    "shared_buffers": "32MB",
}


class Server:
    """One cluster in a folder; may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._made = 0
        folder.mkdir(parents=True)
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-N")
        self.start()

    def start(self) -> None:
        """Return when it answers."""
        settings = " ".join(f"-c {key}={value}" for key, value in _SETTINGS.items())
        options = f"-p {self.port} -k {self._folder} {settings}"
        log = str(self._folder / "log")
        self._control("start", "-w", "-l", log, "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        """Return when it is gone; `immediate` is a crash."""
        self._control("stop", "-w", "-m", mode)

    def create(self) -> str:
        """A new and empty database."""
        self._made += 1
        name = f"node_{self._made}"
        engine = sa.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_user, str(_programs() / program), *arguments],
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def _programs() -> Path:
    """Folder of the newest release that is installed."""
    return max(_HOME.glob("*/bin"), key=lambda p: int(p.parent.name))


@contextmanager
def server() -> Iterator[Server]:
    """A server in a folder of its own: a short path, because a socket's name must be short."""
    folder = Path(f"/tmp/pg-{os.getpid()}-{os.urandom(3).hex()}")
    started = Server(folder)
    try:
        yield started
    finally:
        started.stop()
        # A hundred databases are 100,000 files: nobody has to wait until the last is gone.
        subprocess.run(["sh", "-c", 'rm -rf "$0" &', str(folder)], check=True)
