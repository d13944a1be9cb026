"""Storage commitment as SCP between processes: kill -9 at each point, Orthanc, dcmjs-dimse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asking_sender import WSM, AskingSender, Reference, hearing
from crashing import PROMISE_POINTS, REQUEST_POINTS
from nodes import ROOT, Node, free_port, node, orthanc, storescu, wait_for
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from wsm_files import wsm_header

PROMISING = "\n[commitment]\nscp = true\n[retention]\nkeep_inputs = true\n"
CT = "1.2.840.10008.5.1.4.1.1.2"
CRASHING = str(ROOT / "tests" / "support" / "crashing.py")


def instances(count: int) -> list[Dataset]:
    made = [wsm_header(ImageComments="x" * 5000) for _ in range(count)]
    for ds in made:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


@contextmanager
def promising_node(folder: Path) -> Iterator[tuple[Node, AskingSender]]:
    """A node that promises, nothing started, and a sender that hears its reports."""
    port = free_port()
    with node(folder, port) as n:
        n.config.write_text(n.config.read_text() + PROMISING)
        sender = AskingSender(n.port)
        with hearing(sender, port=port):
            yield n, sender


def told_once_and_true(n: Node, sender: AskingSender, transaction: str, sent: list[Reference]):
    assert sender.told(transaction, within_s=60) == dict.fromkeys(sent, "committed")
    wait_for(lambda: n.ledger.promises.peers() == {}, what="noted")
    assert {ds.TransactionUID for _, ds in sender.reports} == {transaction}, "one UID"
    with n.ledger.database.read() as db:
        promised = db.exec_driver_sql(
            "SELECT sop_instance_uid FROM instances WHERE promised_at IS NOT NULL"
        ).scalars()
        assert set(promised) == {uid for _, uid in sent}


@pytest.mark.parametrize("point", REQUEST_POINTS)
def test_after_kill_9_of_the_listener_the_same_request_again_is_one_request(point, tmp_path):
    with promising_node(tmp_path) as (n, sender):
        datasets = instances(3)
        sent = [(WSM, str(ds.SOPInstanceUID)) for ds in datasets]
        deadly = n.start("ingest", CRASHING, point, "1")
        sender.store(datasets)
        transaction, status = sender.ask(sent)
        assert status is None
        assert deadly.wait(30) == -signal.SIGKILL
        n.start("ingest")
        assert sender.ask(sent, transaction)[1] == 0x0000
        n.launch("egress")
        told_once_and_true(n, sender, transaction, sent)
        assert len(sender.reports) == 1


@pytest.mark.parametrize("point", PROMISE_POINTS)
def test_after_kill_9_a_request_is_reported_on_and_what_was_told_is_kept(point, tmp_path):
    with promising_node(tmp_path) as (n, sender):
        datasets = instances(3)
        sent = [(WSM, str(ds.SOPInstanceUID)) for ds in datasets]
        n.start("ingest")
        sender.store(datasets)
        transaction, status = sender.ask(sent)
        assert status == 0x0000
        assert n.launch("egress", CRASHING, point, "1").wait(60) == -signal.SIGKILL
        n.launch("egress")
        told_once_and_true(n, sender, transaction, sent)
        # Only one that was taken and not noted comes again, under the same UID.
        assert len(sender.reports) == (2 if point == "told, not noted" else 1)


def test_orthanc_asks_and_is_told_what_is_kept_and_what_is_not(phantom_study, tmp_path):
    with node(tmp_path / "node", 1) as n, orthanc(tmp_path / "orthanc", n.port) as pacs:
        port = f"port = {pacs.dicom_port}\n"
        n.config.write_text(n.config.read_text().replace("port = 1\n", port) + PROMISING)
        n.start("ingest")
        n.launch("egress")
        assert storescu(n.port, phantom_study.folder).returncode == 0
        files = [dcmread(path, stop_before_pixels=True) for path in phantom_study.paths]
        here = [{"SOPClassUID": WSM, "SOPInstanceUID": str(f.SOPInstanceUID)} for f in files]
        missing = {"SOPClassUID": WSM, "SOPInstanceUID": generate_uid()}
        other = {**here[0], "SOPClassUID": CT}

        def answer(items: list[dict[str, str]]) -> dict:
            body = json.dumps({"DicomInstances": items})
            made = pacs.rest("/modalities/node/storage-commitment", "POST", body)
            path = f"/storage-commitment/{made['ID']}"
            wait_for(lambda: pacs.rest(path)["Status"] != "Pending", within_s=30, what="a report")
            return pacs.rest(path)

        whole = answer(here)
        assert whole["Status"] == "Success"
        assert whole["RemoteAET"] == "DICOMNODE"
        assert len(whole["Success"]) == len(here)
        part = answer([here[1], missing, other])
        assert part["Status"] == "Failure"
        assert [s["SOPInstanceUID"] for s in part["Success"]] == [here[1]["SOPInstanceUID"]]
        reasons = {f["SOPInstanceUID"]: f["FailureReason"] for f in part["Failures"]}
        assert reasons == {
            missing["SOPInstanceUID"]: 0x0112,
            other["SOPInstanceUID"]: 0x0119,
        }


DCMJS = """
const { Client, Server, Scp, Dataset, requests, responses, constants } = require('dcmjs-dimse');
const { Status, PresentationContextResult, StorageClass, TransferSyntax } = constants;
const [own, node, sopClass, ...uids] = process.argv.slice(1);
class Hearing extends Scp {
  constructor(socket, options) { super(socket, options); }
  associationRequested(association) {
    this.association = association;
    for (const { context } of association.getPresentationContexts()) {
      console.log(`role ${context.getUserRole && context.getUserRole()} ` +
                  `${context.getProviderRole && context.getProviderRole()}`);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }
  nEventReportRequest(request, callback) {
    const ds = request.getDataset();
    const list = (s) => [].concat(s || []).map((i) => i.ReferencedSOPInstanceUID);
    console.log(JSON.stringify({
      type: request.getEventTypeId ? request.getEventTypeId() : null,
      uid: ds.getElement('TransactionUID'),
      kept: list(ds.getElement('ReferencedSOPSequence')),
      failed: list(ds.getElement('FailedSOPSequence')),
    }));
    const response = responses.NEventReportResponse.fromRequest(request);
    response.setStatus(Status.Success);
    callback(response);
    setTimeout(() => process.exit(0), 500);
  }
  associationReleaseRequested() { this.sendAssociationReleaseResponse(); }
}
const server = new Server(Hearing);
server.on('networkError', (e) => console.log(`network ${e}`));
server.listen(Number(own));
const request = new requests.NActionRequest(
  '1.2.840.10008.1.20.1', '1.2.840.10008.1.20.1.1', 1);
request.setDataset(new Dataset({
  TransactionUID: '2.25.4711',
  ReferencedSOPSequence: uids.map((u) => ({
    ReferencedSOPClassUID: sopClass, ReferencedSOPInstanceUID: u })),
}));
request.on('response', (r) => console.log(`status ${r.getStatus()}`));
const client = new Client();
client.on('networkError', (e) => console.log(`network ${e}`));
client.addRequest(request);
client.send('127.0.0.1', Number(node), 'PACS', 'DICOMNODE');
setTimeout(() => process.exit(1), 40000);
"""


def test_dcmjs_dimse_asks_and_is_told(tmp_path):
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs node; `sh tests/run.sh` installs it")
    looked = subprocess.run(
        [program, "-e", "require.resolve('dcmjs-dimse')"], capture_output=True, check=False
    )
    if looked.returncode:
        pytest.skip("dcmjs-dimse is not installed: npm install dcmjs-dimse, and set NODE_PATH")
    port = free_port()
    with node(tmp_path, port) as n:
        n.config.write_text(n.config.read_text() + PROMISING)
        n.start("ingest")
        n.launch("egress")
        datasets = instances(2)
        AskingSender(n.port).store(datasets)
        uids = [str(ds.SOPInstanceUID) for ds in datasets]
        unknown = generate_uid()
        done = subprocess.run(
            [program, "-e", DCMJS, str(port), str(n.port), WSM, *uids, unknown],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ,
        )
        assert "status 0" in done.stdout, done.stdout + done.stderr
        (line,) = [one for one in done.stdout.splitlines() if one.startswith("{")]
        report = json.loads(line)
        assert report["uid"] == "2.25.4711"
        assert sorted(report["kept"]) == sorted(uids)
        assert report["failed"] == [unknown]
