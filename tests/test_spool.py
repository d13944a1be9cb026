"""The spool by itself: space, names, digests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dicom_node.incoming import SpoolFull, file_header
from dicom_node.spool import Spool, SpoolUnusable

HEADER = file_header("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.3", "1.2.840.10008.1.2.1")


class ShrinkingSpool(Spool):
    """A spool whose file system has as much space as the test says."""

    free = 10_000

    def free_bytes(self) -> int:
        return self.free


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", reserve_bytes=0)
    spool.claim()
    return spool


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
@pytest.mark.parametrize("piece", [131_060, 1 << 20])
def test_the_digest_is_that_of_the_dataset_whatever_its_size(
    spool: Spool, size: int, piece: int
) -> None:
    data = os.urandom(size)
    incoming = spool.receive(HEADER)
    for at in range(0, size, piece):
        incoming.write(memoryview(data)[at : at + piece])
    sha256 = incoming.finish()
    published = spool.publish(incoming, sha256)
    incoming.close()
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert (spool.root / published.path).read_bytes() == HEADER + data


def test_what_is_closed_without_being_published_leaves_nothing(spool: Spool) -> None:
    descriptors = open_descriptors()
    incoming = spool.receive(HEADER)
    incoming.write(bytes(3_000_000))
    incoming.close()
    assert open_descriptors() == descriptors
    assert [p.name for p in spool.root.rglob("*") if p.is_file()] == [".lock"]


def test_space_running_out_during_a_transfer_gives_the_space_back_and_keeps_draining(
    tmp_path: Path,
) -> None:
    spool = ShrinkingSpool(tmp_path, reserve_bytes=1000)
    spool.claim()
    descriptors = open_descriptors()
    incoming = spool.receive(HEADER)
    spool.free = 999
    for _ in range(40):
        incoming.write(bytes(1 << 20))
    assert open_descriptors() == descriptors
    assert incoming.size_bytes == 40 << 20
    with pytest.raises(SpoolFull):
        incoming.finish()


def test_after_running_low_more_than_the_reserve_must_be_free_again(tmp_path: Path) -> None:
    spool = ShrinkingSpool(tmp_path, reserve_bytes=1000)
    spool.free = 1000
    spool.require_space()
    for free, enough in ((999, False), (1000, False), (1099, False), (1100, True), (1000, True)):
        spool.free = free
        if enough:
            spool.require_space()
        else:
            with pytest.raises(SpoolFull):
                spool.require_space()


def test_a_withdrawn_instance_is_gone_but_never_one_that_was_there_before(spool: Spool) -> None:
    first, second = spool.receive(HEADER), spool.receive(HEADER)
    for incoming in (first, second):
        incoming.write(b"same")
    kept = spool.publish(first, first.finish())
    again = spool.publish(second, second.finish())
    spool.withdraw(again)
    assert (spool.root / kept.path).exists()
    spool.withdraw(kept)
    assert not (spool.root / kept.path).exists()


def test_the_sweep_needs_the_spool_to_itself(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="claimed"):
        Spool(tmp_path, 0).sweep(set())


def test_a_released_spool_can_be_claimed_by_another(spool: Spool) -> None:
    other = Spool(spool.root, 0)
    with pytest.raises(SpoolUnusable, match="another process"):
        other.claim()
    spool.release()
    other.claim()


def test_a_file_system_without_unnamed_files_is_refused_with_the_reason() -> None:
    with pytest.raises(SpoolUnusable, match="ext4"):
        Spool(Path("/proc"), 0)._unnamed_file()
