"""The statement says what the node does: tables from the code, sentences from cases."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from conformance_runs import KNOWN
from nodes import ROOT, dicom_node

from conformance.index import ALL
from dicom_node.deliver import dimse, proof
from dicom_node.deliver.duplicate import verifying
from dicom_node.ledger.ledger import Ledger
from dicom_node.processes.ingest import Ingest
from dicom_node.results.kinds import result_classes
from dicom_node.services.store.status import StoreStatus
from dicom_node.spool.spool import Spool
from dicom_node.statement import tables
from dicom_node.statement.document import statement

COMMITTED = ROOT / "conformance" / "statement.md"
INTEGRATION = ROOT / "conformance" / "integration.md"
CASE = re.compile(r"[a-z]+\.[A-Za-z0-9.-]+[A-Za-z0-9]")


def cited(text: str) -> set[str]:
    """Names of cases: what stands in brackets, and in the table of differences."""
    groups = re.findall(r"(?<!`)\[([a-z]+\.[^\]\[]+)\]", text)
    return {name for group in groups for name in CASE.findall(group)}


def test_the_committed_statement_is_what_the_command_prints():
    done = dicom_node("conformance-statement")
    assert done.returncode == 0, done.stderr
    assert done.stdout == COMMITTED.read_text(), (
        "run `dicom-node conformance-statement > conformance/statement.md`"
    )


@pytest.mark.parametrize("page", [COMMITTED, INTEGRATION], ids=lambda p: p.name)
def test_every_case_that_a_page_cites_exists_and_is_not_known_to_fail(page: Path):
    names = cited(page.read_text())
    assert len(names) >= 15
    assert names <= {case.id for case in ALL}
    assert not names & set(KNOWN)


def test_every_known_difference_from_the_standard_is_stated():
    page = COMMITTED.read_text()
    rows = page[page.index("#### 7.2.1 ") : page.index("### 7.3")]
    stated = set(re.findall(r"^\| ([a-z]+\.[\w.-]+) \|", rows, re.MULTILINE))
    assert stated == set(KNOWN)
    assert ("No case of `python -m conformance` is known to fail." in rows) == (not KNOWN)


def test_the_sections_are_those_of_annex_n_in_their_order():
    heads = re.findall(r"^## (?:(\d) |Annex ([A-E]) )", COMMITTED.read_text(), re.MULTILINE)
    assert ["".join(h) for h in heads] == [*"12345678", *"ABCDE"]


def test_the_classes_stated_as_provider_are_those_the_listener_accepts(tmp_path):
    ingest = Ingest(
        ae_title="NODE",
        bind="127.0.0.1",
        port=0,
        senders=[],
        spool=Spool(tmp_path / "spool", reserve_bytes=0),
        ledger=Ledger.open(tmp_path / "node.sqlite"),
        maximum_associations=1,
    )
    services = ingest._acceptor._services
    assert {c for s in services for c in s.sop_classes} == set(tables.accepted())


def test_the_classes_stated_as_user_are_those_that_delivery_proposes():
    sent = {*result_classes(), "1.2.840.10008.1.1"}
    assert {c.uid for c in tables.proposed()} == sent | {
        c.uid for c in (*proof.CLASSES, *verifying.CLASSES)
    }


def test_every_status_of_c_store_is_stated():
    table = tables.store_scp()
    assert all(f"| {status:04X} |" in table for status in StoreStatus)


@pytest.mark.parametrize("row", tables.SCU_BEHAVIOR, ids=lambda row: row[0])
def test_what_is_stated_of_an_answer_is_what_delivery_makes_of_it(row):
    code, _, behavior = row
    if code == "none":
        return
    examples = {"Bxxx": "B007", "A7xx": "A701", "others": "A900"}
    destination = SimpleNamespace(name="pacs")
    state = dimse._judge(int(examples.get(code, code), 16), destination).state
    words = {"delivered": "Delivered", "pending": "Sent again", "refused": "Not sent again"}
    assert behavior.startswith(words[state.value])


def test_every_transfer_syntax_of_a_context_has_its_row():
    for sop_class in (*tables.accepted(), *tables.proposed()):
        for syntax in sop_class.transfer_syntaxes:
            row = f"| {sop_class.name} `{sop_class.uid}` | {syntax.keyword} `{syntax.uid}` |"
            assert row in statement()
