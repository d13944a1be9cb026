"""The smallest DICOMweb server a viewer can work with: metadata, frames and bulk data of files.

WADO-RS (PS3.18 10.4) for a single study, from memory, on loopback; static files beside it.
"""

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless

MEDIA_TYPES = {JPEGBaseline8Bit: "image/jpeg", JPEGLSLossless: "image/jls"}
CONTENT_TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"}
BOUNDARY = "part"
LONGEST_IN_METADATA = 1024


@contextmanager
def serve(files: Sequence[Path], static: Sequence[Path]) -> Iterator[str]:
    """Address of a server of the DICOM `files` and, by their names alone, of the `static` files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files, static))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(files: Sequence[Path], static: Sequence[Path]) -> type[BaseHTTPRequestHandler]:
    instances = {ds.SOPInstanceUID: ds for ds in map(dcmread, files)}
    frames = {uid: _frames(ds) for uid, ds in instances.items() if "NumberOfFrames" in ds}
    bulk: list[bytes] = []
    pages = {path.name: path for path in static}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if found := re.search(r"/series/([\d.]+)/metadata$", path):
                of_series = [d for d in instances.values() if d.SeriesInstanceUID == found[1]]
                answer = json.dumps([_metadata(ds, bulk) for ds in of_series]).encode()
                self.answer("application/dicom+json", answer)
            elif found := re.search(r"/instances/([\d.]+)/frames/(\d+)$", path):
                syntax = instances[found[1]].file_meta.TransferSyntaxUID
                frame = frames[found[1]][int(found[2]) - 1]
                kind = MEDIA_TYPES.get(syntax, "application/octet-stream")
                self.answer_part(kind, f"Content-Type: {kind}; transfer-syntax={syntax}", frame)
            elif found := re.search(r"/bulk/(\d+)$", path):
                kind = "application/octet-stream"
                self.answer_part(kind, f"Content-Type: {kind}", bulk[int(found[1])])
            elif page := pages.get(Path(path).name):
                self.answer(CONTENT_TYPES[page.suffix], page.read_bytes())
            else:
                self.send_error(404)

        def answer_part(self, kind: str, header: str, content: bytes) -> None:
            head, end = f"--{BOUNDARY}\r\n{header}\r\n\r\n", f"\r\n--{BOUNDARY}--\r\n"
            body = head.encode() + content + end.encode()
            self.answer(f'multipart/related; type="{kind}"; boundary={BOUNDARY}', body)

        def answer(self, content_type: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: the test's output is the picture."""

    return Handler


def _frames(ds: Dataset) -> list[bytes]:
    """Streams, or the bytes of each frame; frames of single bits have to end with a byte."""
    count = int(ds.NumberOfFrames)
    if ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return list(generate_frames(ds.PixelData, number_of_frames=count))
    size, rest = divmod(ds.Rows * ds.Columns * ds.SamplesPerPixel * ds.BitsAllocated, 8)
    assert rest == 0, f"{size * 8 + rest} bits in a frame"
    return [ds.PixelData[n * size : (n + 1) * size] for n in range(count)]


def _metadata(ds: Dataset, bulk: list[bytes]) -> dict[str, object]:
    """The header as JSON; long binary values go to `bulk`, as addresses (PS3.18 F.2.6)."""

    def kept(element: DataElement) -> str:
        bulk.append(bytes(element.value))
        return f"/dicomweb/bulk/{len(bulk) - 1}"

    tags = [element.tag for element in ds if element.keyword != "PixelData"]
    header = Dataset({tag: ds[tag] for tag in tags})
    return header.to_json_dict(LONGEST_IN_METADATA, kept)
