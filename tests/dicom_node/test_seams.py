"""What the association room relies on inside pynetdicom: an upgrade must stop here first."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable

import pynetdicom
import pytest
from pynetdicom import transport
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.timer import Timer

# SHA-256 of the source, first 16 digits. When one changes: read the new source, see whether the
# seam still holds, run tests/dicom_node/test_receive.py, then write the new digest here.
RELIED_ON: dict[Callable[..., object], str] = {
    DULServiceProvider._read_pdu_data: "19f2d4e38c13c835",
    DULServiceProvider._decode_pdu: "fc71dd1bf853e1ce",
    DULServiceProvider._is_transport_event: "8725ed03bb8fbdef",
    DULServiceProvider._process_recv_primitive: "4c0ebbb3e646e35e",
    DULServiceProvider.run_reactor: "e3a10eb3a0931e48",
    DIMSEServiceProvider.receive_primitive: "5f99c86b14a15cef",
    DIMSEServiceProvider.send_msg: "a839cf2fb46976d9",
    DIMSEMessage.decode_msg: "f51c777e841a76be",
    StorageServiceClass.SCP: "63afca7fc6c6e7ee",
    Association.run_reactor: "ed8bbbe3b3d6ddae",
    Association._run_reactor: "f28838c5559e462a",
    Association._serve_request: "2f24c1759cdf6c8c",
    Association.kill: "8f9713666a7f4cff",
    ACSE.send_reject: "700998293bbcb6c9",
    transport.AssociationSocket.close: "c726c8db53813d55",
    transport.RequestHandler._create_association: "05c8d12b79863cdb",
    ApplicationEntity._create_socket: "f56bca8888e1ce9f",
    transport.AssociationSocket.connect: "aeeeae413bd339dc",
    transport.AssociationSocket.recv: "6bc20a33b1b7cfe7",
    transport.AssociationServer.__init__: "edacb98bdfb7b974",
    Timer: "77ddae7423f544b1",
    DULServiceProvider.__init__: "c82dafa9438ddf70",
}


def digest(function: Callable[..., object]) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


def test_pynetdicom_is_the_release_the_seams_were_written_for() -> None:
    assert pynetdicom.__version__ == "3.0.4"


@pytest.mark.parametrize("function", RELIED_ON, ids=lambda f: f.__qualname__)
def test_the_source_the_seams_rely_on_is_unchanged(function: Callable[..., object]) -> None:
    assert digest(function) == RELIED_ON[function]
