"""OHIF and a PACS behind one origin: a browser then asks the PACS without leave of another site."""

from __future__ import annotations

import mimetypes
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

mimetypes.add_type("application/wasm", ".wasm")
PROXIED = ("/dicom-web/", "/wado")


@contextmanager
def one_origin(viewer: Path, config: Path, pacs: str) -> Iterator[str]:
    """Address of the built viewer in a folder, with another app-config.js and a PACS at `pacs`.

    An address that names no file is the viewer's own page: it reads the rest itself.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(viewer, config, pacs))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(viewer: Path, config: Path, pacs: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith(PROXIED):
                self.forward()
                return
            name = self.path.split("?")[0].lstrip("/")
            file = config if name == "app-config.js" else viewer / (name or "index.html")
            file = file if file.is_file() else viewer / "index.html"
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self.answer(200, kind, file.read_bytes())

        def forward(self) -> None:
            headers = {k: v for k, v in self.headers.items() if k.lower() in ("accept", "range")}
            headers["Host"] = self.headers["Host"]  # in the addresses of bulk data
            try:
                request = urllib.request.Request(pacs + self.path, headers=headers)
                with urllib.request.urlopen(request, timeout=60) as found:
                    self.answer(found.status, found.headers["Content-Type"], found.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, "text/plain", error.read())

        def answer(self, status: int, kind: str | None, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: what counts is on the pictures."""

    return Handler
