"""Where the bytes of frames are: an offset table is a claim."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from wsidicom.file.io.frame_index.frame_index import FrameIndex

from inference.slide.stored import FrameBroken, StoredFrames

FRAMES = [b"first!", b"second", b"third!"]


@dataclass
class Reader:
    filepath: Path
    frame_index: FrameIndex
    frame_offset: int = 0


@dataclass
class Data:
    _readers: list[Reader]


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "items"
    path.write_bytes(
        b"".join(b"\xfe\xff\x00\xe0" + len(f).to_bytes(4, "little") + f for f in FRAMES)
    )
    with ExitStack() as files:

        def at(*positions: int) -> StoredFrames:
            index = FrameIndex(np.array(positions), np.full(len(positions), 6))
            return StoredFrames(Data([Reader(path, index)]), True, files)

        yield at


def test_frames_that_follow_each_other_are_read(stored):
    frames = stored(8, 22, 36)
    assert [bytes(frames.read(n)) for n in range(3)] == FRAMES


@pytest.mark.parametrize("positions", [(8, 8, 8), (36, 22, 8), (8, 22, 22), (8, 10, 36)])
def test_a_table_that_gives_a_place_twice_or_goes_back_gives_no_frame(positions, stored):
    frames = stored(*positions)
    for number in range(3):
        with pytest.raises(FrameBroken, match="a place of its own"):
            frames.read(number)
