"""The listener as a process of its own: `python ingest_process.py DATA_DIR [PORT [TLS_DIR]]`.

With a folder of `node.pem`, `node.key` and `ca.pem` it speaks TLS, and nothing else. Prints its
port, drains on SIGTERM. Accepts AE title STORESCU from this machine.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from dicom_node.association.tls.contexts import ServerTls
from dicom_node.config.tls import NodeTls
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.spool.spool import Spool


@dataclass(frozen=True)
class AnySender:
    ae_title: str = "STORESCU"
    networks: tuple[IPv4Network, ...] = (IPv4Network("127.0.0.0/8"),)
    certificate: tuple[str, ...] = ()


def ledger_of(data_dir: Path) -> Path | str:
    """Where the ledger of a data folder is: on a server, if that was noted in the folder."""
    noted = data_dir / "server"
    return noted.read_text() if noted.exists() else data_dir / "node.sqlite"


def note_ledger(data_dir: Path, url: str) -> None:
    """Keep the ledger of a data folder on a server."""
    data_dir.mkdir(parents=True)
    (data_dir / "server").write_text(url)


def tls_of(folder: Path) -> ServerTls:
    """TLS that asks senders for certificates."""
    own = {"certificate": folder / "node.pem", "key": folder / "node.key"}
    return ServerTls(NodeTls(**own, client_ca=folder / "ca.pem"))


def main(data_dir: Path, port: int, tls_dir: Path | None = None) -> None:
    ingest = Ingest(
        ae_title="NODE",
        bind="127.0.0.1",
        port=port if tls_dir is None else None,
        tls=None if tls_dir is None else tls_of(tls_dir),
        tls_port=port,
        senders=[AnySender()],
        spool=Spool(data_dir / "spool", reserve_bytes=0),
        ledger=Ledger.open(ledger_of(data_dir)),
        maximum_associations=16,
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ingest.start()
    print(ingest.port or ingest.tls_port, flush=True)
    stop.wait()
    sys.exit(0 if ingest.drain(5) else 1)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
        Path(sys.argv[3]) if len(sys.argv) > 3 else None,
    )
