"""The times of an association go by a clock that nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network

import pytest

from dicom_node.association.acceptor import Acceptor
from dicom_node.association.dul import SteadyTimer
from dicom_node.association.requestor import request
from dicom_node.association.service import Service
from dicom_node.config.peers import Sender
from dicom_node.sop_classes import VERIFICATION

DAY_S = 86_400.0


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the host's clock, as an administrator or a time server would."""
    real = time.time

    def set_by(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return set_by


@pytest.fixture
def listener() -> Iterator[Acceptor]:
    acceptor = Acceptor(
        ae_title="NODE",
        bind="127.0.0.1",
        port=0,
        senders=[Sender(ae_title="STORESCU", networks=(IPv4Network("127.0.0.0/8"),))],
        services=[Service((VERIFICATION,), (), open_sink=lambda *_: None)],
        maximum_associations=4,
    )
    acceptor.start()
    yield acceptor
    acceptor.drain(0.5)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_is_set_ends_no_association_of_ours_or_of_a_sender(
    days: int, listener: Acceptor, set_clock: Callable[[float], None]
) -> None:
    association = request(
        host="127.0.0.1",
        port=listener.port or 0,
        called_ae="NODE",
        calling_ae="STORESCU",
        sop_classes=[VERIFICATION],
    )
    assert association.is_established
    set_clock(days * DAY_S)
    time.sleep(1)
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert association.is_released


def test_a_timer_expires_after_its_time_whatever_the_clock_says(
    set_clock: Callable[[float], None],
) -> None:
    timer = SteadyTimer(0.3)
    assert timer.remaining == 0.3
    timer.start()
    set_clock(-DAY_S)
    assert not timer.expired
    time.sleep(0.4)
    assert timer.expired
    timer.restart()
    set_clock(DAY_S)
    assert not timer.expired
    timer.stop()
    time.sleep(0.4)
    assert not timer.expired, "it stands still"
    timer.timeout = None
    assert timer.remaining == 1
