"""Chromium without a window, spoken to over a pipe (Chrome DevTools Protocol): what a page looks
like at a size, in the dark and on paper."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodes import need

_WAIT_S = 60
_WAYS = {"to": 3, "from": 4}
"""File descriptors that Chromium reads commands from and writes answers to."""


class Browser:
    """One page of a running Chromium."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._read, self._count, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.requests: list[str] = []
        """Addresses that the page asked for, its own first."""
        self.call("Page.enable")
        self.call("Network.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, page: Path, width: int = 1280, height: int = 844, *, dark: bool = False) -> None:
        """Show a page in a window of that size."""
        self.requests.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.value(
            "new Promise(done => document.readyState === 'complete' ? done() : "
            "addEventListener('load', () => done()))"
        )

    def value(self, script: str) -> Any:
        """What a script gives, once its promise is kept."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, out: Path, *, whole: bool = True) -> Path:
        """The page, or what of it is seen without scrolling, as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        out.write_bytes(base64.b64decode(found["data"]))
        return out

    def pdf(self, out: Path) -> Path:
        """The page printed as people print it: no background graphics."""
        found = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        out.write_bytes(base64.b64decode(found["data"]))
        return out

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self._answers, 1 << 20)
            assert more, "Chromium ended"
            self._read += more
        one, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A Chromium of its own, gone afterwards; skips where none is installed."""
    need("chromium")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [
        "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={folder}",
    ]  # fmt: skip

    def place() -> None:
        """The pipes where Chromium looks for them; first out of each other's way."""
        ends = [os.dup(theirs_in), os.dup(theirs_out)]
        for end, way in zip(ends, _WAYS.values(), strict=True):
            os.dup2(end, way)

    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, preexec_fn=place, pass_fds=list(_WAYS.values())
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        process.terminate()
        process.wait(_WAIT_S)
        os.close(ours_out)
        os.close(ours_in)
