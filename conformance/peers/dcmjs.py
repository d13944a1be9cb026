"""dcmjs-dimse, an implementation in another language, where npm has put it."""

from __future__ import annotations

import subprocess

from conformance.peers.dcmtk import program
from conformance.session import Session
from conformance.verdicts import Skipped, expect

_FIND = "require.resolve('dcmjs-dimse')"
_ECHO = """
const { Client, requests } = require('dcmjs-dimse');
const [host, port, calling, called] = process.argv.slice(1);
const request = new requests.CEchoRequest();
request.on('response', (r) => console.log(`status ${r.getStatus()}`));
const client = new Client();
client.on('networkError', (e) => { console.log(`network error`); process.exit(1); });
client.addRequest(request);
client.send(host, Number(port), calling, called);
"""


def echo(session: Session) -> None:
    """C-ECHO. Raises Skipped where Node.js or the package is not there (set NODE_PATH)."""
    node = program("node")
    target = session.target
    if target.tls is not None:
        raise Skipped("dcmjs-dimse is run without TLS only")
    looked = subprocess.run([node, "-e", _FIND], capture_output=True, timeout=60, check=False)
    if looked.returncode:
        raise Skipped("dcmjs-dimse is not installed: npm install dcmjs-dimse, and set NODE_PATH")
    done = subprocess.run(
        [node, "-e", _ECHO, target.host, str(target.port), target.calling_ae, target.called_ae],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expect("status 0" in done.stdout, found=done.stdout.strip() or "no answer", expected="status 0")
