"""`python -m conformance HOST PORT ...`: which cases are asked, and of whom.

By default only echo and negotiation: it may be pointed at a hospital's node. Whatever sends a
patient, or is no way to treat a peer, must be asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conformance import pacs, report, runner
from conformance.case import Need, Result
from conformance.index import ALL
from conformance.peers import certificates
from conformance.session import Session, Target, TlsFiles
from conformance.verdicts import Verdict

FAILED = 1
"""Exit status when a case failed, or nobody listens."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases that were asked for; 0 when none failed."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.list:
        for case in ALL:
            needs = " ".join(sorted(case.needs))
            sys.stdout.write(
                f"{case.id:<44}{case.section:<16}{case.sentence} {needs}".rstrip() + "\n"
            )
        return 0
    _require_sense(parser, given)
    try:
        socket.create_connection((given.host, given.port), timeout=given.patience).close()
    except OSError as error:
        sys.stderr.write(f"conformance: nobody listens there: {error.strerror or error}\n")
        return FAILED
    return _run(given)


def _run(given: argparse.Namespace) -> int:
    needs = _needs(given)
    with contextlib.ExitStack() as stack:
        session = _session(given)
        if given.results_port is not None:
            bind, port = given.results_bind, given.results_port
            session.results = stack.enter_context(pacs.listening(given.calling, bind, port))
        results = runner.run(runner.chosen(ALL, needs, given.only), session, needs, _note)
    sys.stdout.write(report.table(results) + "\n")
    about = {"host": given.host, "port": given.port, "called_ae": given.ae}
    if given.json:
        given.json.write_text(report.as_json(results, about))
    if given.junit:
        given.junit.write_text(report.as_junit(results))
    return FAILED if any(r.verdict is Verdict.FAILED for r in results) else 0


def _note(result: Result) -> None:
    sys.stderr.write(report.line(result) + "\n")


def _needs(given: argparse.Namespace) -> frozenset[Need]:
    asked = {
        Need.STORE: given.store or given.full,
        Need.RESULTS: given.results_port is not None,
        Need.HOSTILE: given.hostile is not None,
        Need.TLS: given.tls is not None,
        Need.LARGE: given.large,
        Need.DRAINING: given.draining,
        Need.FULL: given.full,
    }
    return frozenset(need for need, is_given in asked.items() if is_given)


def _session(given: argparse.Namespace) -> Session:
    files = None
    if given.tls is not None:
        files = TlsFiles(given.tls, given.tls_client, given.tls_expired, given.tls_revoked)
    over = files if files is not None and given.tls_port == given.port else None
    context = certificates.client_context(over) if over is not None else None
    return Session(
        Target(given.host, given.port, given.ae, given.calling, context),
        patience_s=given.patience,
        results_s=given.results_within,
        quiet_s=given.quiet,
        tls_port=given.tls_port,
        tls=files,
        most_associations=given.most_associations,
    )


def _require_sense(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """End with a usage message where what was given does not fit together."""
    if given.host is None or given.port is None or given.ae is None or given.calling is None:
        parser.error("expected HOST PORT --ae CALLED --calling CALLING")
    if given.hostile is not None and given.hostile != given.host:
        parser.error(f"--hostile names {given.hostile}, the node is {given.host}: name it again")
    if given.results_port is not None and not given.store:
        parser.error("--results-port goes with --store")
    if given.large and not given.store:
        parser.error("--large goes with --store")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Asks a DICOM node for whole-slide images, over the network, what the standard "
        "says of it. By default C-ECHO and negotiation only.",
    )
    parser.add_argument("host", metavar="HOST", nargs="?")
    parser.add_argument("port", metavar="PORT", nargs="?", type=int)
    add: Any = parser.add_argument
    add("--ae", metavar="CALLED", help="AE title of the node")
    add("--calling", metavar="CALLING", help="AE title that the node knows: ours")
    add("--store", action="store_true", help="send whole-slide images of a test patient")
    add("--results-port", type=int, metavar="PORT", help="where the node sends results: listen")
    add("--results-bind", default="0.0.0.0", metavar="ADDRESS", help="address of that listener")
    add("--results-within", type=float, default=300, metavar="S", help="wait so long for results")
    add("--quiet", type=float, default=40, metavar="S", help="longer than the node's quiet time")
    add("--hostile", metavar="HOST", help="send what no peer should; the host once more")
    add("--most-associations", type=int, default=300, metavar="N", help="to look for its limit")
    add("--large", action="store_true", help="send an instance of more than 4 GiB")
    add("--draining", action="store_true", help="the node is stopping: only cases for that")
    add("--full", action="store_true", help="the node has no room: only cases for that")
    add("--tls", type=Path, metavar="CA", help="PEM file: who signed the node's certificate")
    add("--tls-port", type=int, default=2762, metavar="PORT", help="of TLS; default: 2762")
    for name, what in (("client", "ours"), ("expired", "out of date"), ("revoked", "revoked")):
        files = ("CERTIFICATE", "KEY")
        add(f"--tls-{name}", type=Path, nargs=2, metavar=files, help=f"a certificate, {what}")
    add("--patience", type=float, default=15, metavar="S", help="wait so long for an answer")
    add("--only", nargs="+", default=[], metavar="ID", help="cases whose id begins so")
    add("--list", action="store_true", help="print every case and end")
    add("--json", type=Path, metavar="FILE", help="write the results as JSON")
    add("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML")
    return parser
