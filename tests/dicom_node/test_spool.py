"""The spool by itself: space, names, comparing, replacing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dicom_node.spool.incoming import Incoming, SpoolFull, file_header
from dicom_node.spool.lost_found import LostFound, LostFoundBusy
from dicom_node.spool.spool import Spool, SpoolUnusable

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


def received(spool: Spool, data: bytes, header: bytes = HEADER, piece: int = 131_060) -> Incoming:
    incoming = spool.receive(header)
    for at in range(0, len(data), piece):
        incoming.write(memoryview(data)[at : at + piece])
    incoming.sync()
    return incoming


def published(spool: Spool, data: bytes, header: bytes = HEADER) -> str:
    path = spool.new_path()
    incoming = received(spool, data, header)
    spool.publish(incoming, path)
    incoming.close()
    return path


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
@pytest.mark.parametrize("piece", [131_060, 1 << 20])
def test_a_published_file_is_the_header_and_the_dataset_whatever_its_size(
    spool: Spool, size: int, piece: int
) -> None:
    data = os.urandom(size)
    incoming = received(spool, data, piece=piece)
    path = spool.new_path()
    spool.publish(incoming, path)
    assert (spool.root / path).read_bytes() == HEADER + data
    assert spool.holds(path, incoming)
    assert not spool.is_damaged(path, size)


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_comparing_finds_one_changed_byte_wherever_it_is_and_a_missing_or_added_one(
    spool: Spool, size: int
) -> None:
    data = os.urandom(size)
    path = published(spool, data)
    for at in {0, size // 2, size - 1}:
        changed = bytearray(data)
        changed[at] ^= 1
        assert not spool.holds(path, received(spool, bytes(changed)))
    assert not spool.holds(path, received(spool, data[:-1]))
    assert not spool.holds(path, received(spool, data + b"\0"))
    assert spool.holds(path, received(spool, data))


def test_comparing_looks_at_the_dataset_only_and_not_at_the_header_before_it(spool: Spool) -> None:
    longer = file_header("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.3.4.5.6", "1.2.840.10008.1.2.1")
    path = published(spool, b"dataset")
    assert len(longer) != len(HEADER)
    assert spool.holds(path, received(spool, b"dataset", longer))


@pytest.mark.parametrize("length", [0, 100, 150, len(HEADER), len(HEADER) + 999])
def test_a_published_file_cut_short_anywhere_is_damaged(spool: Spool, length: int) -> None:
    path = published(spool, bytes(1000))
    os.truncate(spool.root / path, length)
    assert spool.is_damaged(path, 1000)


def test_a_file_of_the_right_size_whose_header_is_gone_is_damaged(spool: Spool) -> None:
    path = published(spool, bytes(1000))
    (spool.root / path).write_bytes(bytes(len(HEADER) + 1000))
    assert spool.is_damaged(path, 1000)


def test_replacing_puts_the_whole_file_in_place_and_leaves_nothing_beside_it(spool: Spool) -> None:
    path = published(spool, b"lost")
    (spool.root / path).unlink()
    assert spool.is_damaged(path, 4)
    spool.replace(path, received(spool, b"back"))
    assert (spool.root / path).read_bytes() == HEADER + b"back"
    spool.replace(path, received(spool, b"over"))
    assert (spool.root / path).read_bytes() == HEADER + b"over"
    assert [str(p.relative_to(spool.root)) for p in spool.root.glob("*/*")] == [path]


def test_no_two_instances_share_a_name(spool: Spool) -> None:
    first, second = published(spool, b"same"), published(spool, b"same")
    assert first != second
    assert (spool.root / first).exists()
    assert (spool.root / second).exists()


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
        incoming.sync()


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


def test_a_withdrawn_instance_is_gone_and_the_others_stay(spool: Spool) -> None:
    kept, withdrawn = published(spool, b"same"), published(spool, b"same")
    spool.withdraw(withdrawn)
    assert [str(p.relative_to(spool.root)) for p in spool.root.glob("*/*")] == [kept]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_sweep_moves_what_has_no_row_to_lost_and_found_and_nothing_else(spool: Spool) -> None:
    kept, unknown = published(spool, b"a"), published(spool, b"b")
    (spool.root / kept).with_name("0123.new").write_bytes(b"killed before its rename")
    lost_found = LostFound(spool)
    assert lost_found.sweep(lambda: {kept}) == 2
    assert [str(p.relative_to(spool.root)) for p in spool.root.glob("??/*")] == [kept]
    assert contents(lost_found.folder) == {
        unknown.replace("/", ""): HEADER + b"b",
        f"{kept[:2]}0123.new": b"killed before its rename",
    }


def test_an_empty_ledger_erases_nothing_however_often_the_node_starts(spool: Spool) -> None:
    sent = sorted(HEADER + bytes([n]) * 1000 for n in range(20))
    for content in sent:
        published(spool, content.removeprefix(HEADER))
    lost_found = LostFound(spool)
    assert [lost_found.sweep(set) for _ in range(3)] == [20, 0, 0]
    assert sorted(contents(lost_found.folder).values()) == sent


def test_the_sweep_never_overwrites_a_file_of_lost_and_found(spool: Spool) -> None:
    path = published(spool, b"second")
    lost_found = LostFound(spool)
    lost_found.folder.mkdir()
    (lost_found.folder / path.replace("/", "")).write_bytes(b"first")
    assert lost_found.sweep(set) == 1
    assert sorted(contents(lost_found.folder).values()) == sorted([b"first", HEADER + b"second"])


def test_the_sweep_asks_what_is_known_only_when_nobody_else_can_record_files(spool: Spool) -> None:
    path = published(spool, b"a")
    lost_found = LostFound(spool)

    def known() -> set[str]:
        with pytest.raises(LostFoundBusy), LostFound(spool).held():
            pass
        return {path}

    assert lost_found.sweep(known) == 0
    with lost_found.held(), pytest.raises(LostFoundBusy, match="recover"):
        LostFound(spool).sweep(set)
    assert (spool.root / path).exists()


def test_the_sweep_needs_the_spool_to_itself(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="claimed"):
        LostFound(Spool(tmp_path, 0)).sweep(set)


def test_a_released_spool_can_be_claimed_by_another(spool: Spool) -> None:
    other = Spool(spool.root, 0)
    with pytest.raises(SpoolUnusable, match="already receives"):
        other.claim()
    spool.release()
    other.claim()


def test_a_file_system_without_unnamed_files_is_refused_with_the_reason() -> None:
    with pytest.raises(SpoolUnusable, match="ext4"):
        Spool(Path("/proc"), 0)._unnamed_file()
