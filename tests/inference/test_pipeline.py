from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread, current_thread, main_thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes import wait_for
from numpy.typing import NDArray
from pydicom import Dataset
from students import student, tiny_bundle
from tiny_slides import noise, write_level

from engines.bundle import open_bundle
from engines.errors import DeviceFailed
from engines.manifest.tensors import TileInput
from engines.runtime import Runtime, open_runtime
from inference import archive, predict
from inference.errors import Stopped
from inference.slide.slide import Level, open_slide
from inference.tiles.agreement import tile_means
from inference.tiles.cutter import TileCutter
from inference.tiles.encoding import Encoding
from inference.tiles.grid import TileGrid, stream
from inference.tiles.order import MOST_BAND_ROWS, Source, frames_under, in_order
from inference.tiles.shared_frames import SharedFrames
from inference.tiles.values import Resume, TileValues
from inference.types import NotAssessable, Prediction, Progress, Reason

ROOT = Path(__file__).parents[2]


def tissue(rows: int, cols: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pink all over, of a red that differs from pixel to pixel."""
    pixels = np.full((rows, cols, 3), (0, 100, 99), np.uint8)
    pixels[..., 0] = np.random.default_rng(seed).integers(128, 157, (rows, cols))
    return pixels


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """400 tiles that straddle frames of 100 x 120 pixels."""
    return write_level(tmp_path / "slide.dcm", tissue(640, 640), frame=(100, 120))


@contextmanager
def sources_of(path: Path, *mpps: float, tile_px: int = 32) -> Iterator[list[Source]]:
    """Every cell of the grids of a slide at the magnifications."""
    with open_slide([path]) as opened:
        found = []
        for mpp in mpps or (0.5,):
            wanted = TileInput(tile_px=tile_px, mpp=mpp, mpp_tolerance=0.05)
            grid = TileGrid.plan(opened.geometry, opened.levels, wanted)
            cells = np.argwhere(np.ones((grid.rows, grid.cols), bool)).astype(np.int32)
            found.append(Source.of(grid, opened.levels[grid.level_index], cells))
        yield found


class Counting:
    """A level that counts which frames are decoded, and can find some broken."""

    def __init__(self, real: Level) -> None:
        self.real = real
        self.decoded: Counter[tuple[int, int]] = Counter()
        self.lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def decode_into(self, row: int, col: int, out: NDArray[np.uint8]) -> None:
        with self.lock:
            self.decoded[row, col] += 1
        self.real.decode_into(row, col, out)


class Slowed:
    """A runtime whose encoder takes its time, counts its tiles, and breaks when told."""

    def __init__(self, real: Runtime, seconds: float = 0.0, breaks_after: float = np.inf) -> None:
        self.real = real
        self.seconds = seconds
        self.tiles = 0
        self.breaks_after = breaks_after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        if graph_name == "encoder":
            time.sleep(self.seconds)
            self.tiles += len(arrays["tiles"])
            if self.tiles > self.breaks_after:
                raise DeviceFailed("the device is lost")
        return self.real.run(graph_name, arrays)


# -- the order of work ----------------------------------------------------------------------------


@st.composite
def grids(draw: st.DrawFn) -> list[Source]:
    """Grids of any stride on frames of any size, with some cells left out."""
    rows, cols = draw(st.integers(1, 2000)), draw(st.integers(1, 2000))
    level: Any = SimpleNamespace(
        rows=rows,
        cols=cols,
        frame_rows=draw(st.integers(50, 400)),
        frame_cols=draw(st.integers(50, 400)),
    )
    found = []
    for _ in range(draw(st.integers(1, 2))):
        stride = draw(st.integers(50, 500))
        grid = TileGrid(
            stride, -(-rows // stride), -(-cols // stride), stride, 0, 1.0, is_native=True
        )
        keep = np.random.default_rng(draw(st.integers(0, 99))).random((grid.rows, grid.cols)) < 0.8
        keep[0, 0] = True
        found.append(Source.of(grid, level, np.argwhere(keep).astype(np.int32)))
    return found


@given(grids(), st.integers(1, 40))
def test_every_tile_is_in_exactly_one_batch(sources: list[Source], size: int) -> None:
    batches = in_order(sources, size)
    assert [b.number for b in batches] == list(range(len(batches)))
    assert all(0 < len(b.tiles) <= size for b in batches)
    for n, source in enumerate(sources):
        tiles = np.concatenate([b.tiles for b in batches if b.source == n])
        assert sorted(tiles) == list(range(len(source.cells)))


@given(grids(), st.integers(1, 40))
def test_what_is_held_is_a_column_of_a_band_and_the_frames_it_shares_with_the_next(
    sources: list[Source], size: int
) -> None:
    level = sources[0].level
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    widest = 0
    for batch in in_order(sources, size):
        under = frames_under(sources[batch.source])[batch.tiles]
        widest = max(widest, int(under[:, 3].max() - under[:, 1].min()))
        for top, left, bottom, right in under.tolist():
            for frame in ((r, c) for r in range(top, bottom) for c in range(left, right)):
                first.setdefault(frame, batch.number)
                last[frame] = batch.number
    held = Counter(n for frame in first for n in range(first[frame], last[frame] + 1))
    high = max(s.grid.tile_px for s in sources) // level.frame_rows + 2
    columns = 2 * widest + 2
    row_of_frames = -(-level.cols // level.frame_cols)
    assert max(held.values()) <= (MOST_BAND_ROWS + high) * columns + high * row_of_frames


@given(grids(), st.integers(1, 40))
def test_of_a_source_alone_on_its_level_only_the_last_batch_is_short(
    sources: list[Source], size: int
) -> None:
    lengths = [len(batch.tiles) for batch in in_order(sources[:1], size)]
    assert set(lengths[:-1]) <= {size}


def test_a_band_ends_where_no_tile_straddles_two_rows_of_frames(tmp_path: Path) -> None:
    path = write_level(tmp_path / "a.dcm", noise(2048, 64), frame=(64, 64))
    with sources_of(path, tile_px=56) as sources:
        batches = in_order(sources, 4)
        straddles = frames_under(sources[0])
        for band in {b.band for b in batches}:
            tiles = np.concatenate([b.tiles for b in batches if b.band == band])
            later = np.concatenate([b.tiles for b in batches if b.band >= band])
            others = np.setdiff1d(later, tiles)
            if len(others):
                assert straddles[tiles, 2].max() <= straddles[others, 0].min()


# -- frames and tiles -----------------------------------------------------------------------------


def test_each_frame_is_decoded_once_for_two_magnifications_and_any_number_of_threads(
    slide: Path, tmp_path: Path
) -> None:
    for threads in (1, 2, 5):
        with (
            sources_of(slide, 0.5, 1.0) as found,
            student(tmp_path / f"b{threads}", threads=threads) as runtime,
        ):
            level = Counting(found[0].level)
            sources = [Source(s.grid, level, s.cells, s.rectangles) for s in found]  # type: ignore[arg-type]
            values = [TileValues(len(s.cells), {"features": (np.float32, (3,))}) for s in sources]
            Encoding(sources, values, runtime).run(lambda progress: None, lambda: False)
            assert set(level.decoded.values()) == {1}
            assert set(level.decoded) == {(r, c) for r in range(7) for c in range(6)}


def test_the_cutter_knows_the_mean_color_of_the_tiles_it_has_cut(slide: Path) -> None:
    with sources_of(slide, 0.5) as (source,):
        cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, 7)
        for batch in in_order([source], 7):
            pixels, _ = cutter.cut(batch)
            np.testing.assert_array_equal(cutter.means(batch), tile_means(pixels))


def test_tiles_are_those_of_the_stream_in_whatever_order_they_are_cut(slide: Path) -> None:
    with sources_of(slide, 0.5, 1.3) as sources:
        for source in sources:
            streamed = [
                b.pixels.copy() for b in stream(source.level, source.grid, source.cells, batch=16)
            ]
            wanted = np.concatenate(streamed)
            cutter = TileCutter([source], {0: SharedFrames(source.level, [source])}, 7)
            for batch in in_order([source], 7):
                pixels, faults = cutter.cut(batch)
                assert not faults
                np.testing.assert_array_equal(pixels, wanted[batch.tiles])


def test_a_tile_that_is_a_frame_is_decoded_in_place_and_once(tmp_path: Path) -> None:
    pixels = tissue(320, 352)  # the last column of frames reaches beyond the matrix
    path = write_level(tmp_path / "a.dcm", pixels, frame=(64, 64))
    with sources_of(path, tile_px=64) as (found,):
        level = Counting(found.level)
        source = Source(found.grid, level, found.cells, found.rectangles)  # type: ignore[arg-type]
        frames = SharedFrames(level, [source])  # type: ignore[arg-type]
        cutter = TileCutter([source], {0: frames}, 8)
        for batch in in_order([source], 8):
            cut, _ = cutter.cut(batch)
            for tile, got in zip(batch.tiles, cut, strict=True):
                row, col = source.cells[tile] * 64
                wanted = np.full((64, 64, 3), 255, np.uint8)
                inside = pixels[row : row + 64, col : col + 64]
                wanted[: inside.shape[0], : inside.shape[1]] = inside
                np.testing.assert_array_equal(got, wanted)
    assert set(level.decoded.values()) == {1}


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_threads_and_batch_change_no_bit_of_the_result(
    slide: Path, tmp_path: Path, engine: Any
) -> None:
    found = set()
    for threads, batch in [(1, 8), (2, 8), (3, 8), (2, 1), (2, 64)]:

        def change(values: dict[str, Any], batch: int = batch) -> None:
            values["input"]["batch"] = batch

        bundle = tmp_path / f"{engine}-{threads}-{batch}"
        with student(bundle, change, engine=engine, threads=threads) as runtime:
            result = predict.predict([slide], runtime)
        archive.save(result, tmp_path / "result.npz")
        found.add((tmp_path / "result.npz").read_bytes())
    assert len(found) == 1


def test_the_coarser_grid_reaches_the_aggregator_under_its_own_names(
    slide: Path, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def change(values: dict[str, Any]) -> None:
        values["input"]["coarse_mpp"] = 1.0

    with student(tmp_path / "bundle", change) as runtime:
        manifest = runtime.manifest
        inputs = manifest.graphs["aggregator"].inputs
        features = inputs[0]
        wanted = (
            features,
            features.model_copy(update={"name": "features_coarse", "shape": ("M", 3)}),
            features.model_copy(
                update={"name": "positions_coarse", "dtype": "int64", "shape": ("M", 2)}
            ),
        )
        graph = manifest.graphs["aggregator"].model_copy(update={"inputs": wanted})
        two = manifest.model_copy(update={"graphs": {**manifest.graphs, "aggregator": graph}})

        class Both(Slowed):
            manifest = two

            def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
                if graph_name == "aggregator":
                    seen.update(arrays)
                    arrays = {"features": arrays["features"]}
                return super().run(graph_name, arrays)

        result = predict.predict([slide], Both(runtime))
    assert isinstance(result, Prediction)
    assert result.tiles_analyzed == 400
    assert seen["positions_coarse"].tolist() == [[r, c] for r in range(10) for c in range(10)]
    blocks = seen["features"].reshape(10, 2, 10, 2, 3).mean((1, 3)).reshape(100, 3)
    np.testing.assert_allclose(seen["features_coarse"], blocks, atol=0.02)


# -- going on -------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
sys.path[:0] = ["tests/inference", "tests/support"]
from test_pipeline import Slowed
from engines.bundle import open_bundle
from engines.runtime import open_runtime
from inference import predict
bundle, slide, kept = map(Path, sys.argv[1:])
with open_runtime(open_bundle(bundle), engine="openvino", threads=2) as runtime:
    predict.predict([slide], Slowed(runtime, 0.05), resume=kept)
"""


def test_after_kill_9_at_most_a_band_is_made_again_and_no_bit_differs(tmp_path: Path) -> None:
    slide = write_level(tmp_path / "slide.dcm", tissue(1280, 640), frame=(64, 64))
    root, kept = tiny_bundle(tmp_path / "bundle"), tmp_path / "kept"
    arguments = [sys.executable, "-c", KILLED, str(root), str(slide), str(kept)]
    with subprocess.Popen(arguments, cwd=ROOT) as process:
        wait_for(lambda: done_of(kept) >= 300, what="three hundred tiles to be kept")
        process.send_signal(signal.SIGKILL)
    left = done_of(kept)
    assert 300 <= left < 800
    with open_runtime(open_bundle(root), engine="openvino", threads=1) as runtime:
        counted = Slowed(runtime)
        seen: list[Progress] = []
        resumed = predict.predict([slide], counted, progress=seen.append, resume=kept)
        whole = predict.predict([slide], runtime)
    assert counted.tiles == 800 - seen[0].tiles_kept
    assert seen[0].tiles_kept >= left - 8 * 2  # batches at the border of what was saved
    for name, result in (("resumed", resumed), ("whole", whole)):
        archive.save(result, tmp_path / f"{name}.npz")
    assert (tmp_path / "resumed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def done_of(kept: Path) -> int:
    """Tiles that a run has kept; 0 as long as it has not begun."""
    if not (kept / "0" / "key.json").is_file():
        return 0
    return int(np.load(kept / "0" / "done.npy").sum())


def test_what_another_student_or_slide_left_is_not_taken_up(slide: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    def another(header: Dataset) -> None:
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    other = write_level(tmp_path / "other.dcm", tissue(640, 640, 1), frame=(100, 120), edit=another)

    def renamed(values: dict[str, Any]) -> None:
        values["version"] = "1.0.1"

    with student(tmp_path / "a") as first, student(tmp_path / "b", renamed) as second:
        predict.predict([slide], first, resume=kept)
        for runtime, path in [(second, slide), (second, other), (first, other)]:
            counted = Slowed(runtime)
            predict.predict([path], counted, resume=kept)
            assert counted.tiles == 400
        counted = Slowed(first)
        predict.predict([other], counted, resume=kept)
        assert counted.tiles == 0


@pytest.mark.parametrize("damage", ["key.json", "done.npy", "features.npy"])
def test_what_was_kept_and_is_damaged_is_made_again(
    slide: Path, tmp_path: Path, damage: str
) -> None:
    kept = tmp_path / "kept"
    with student(tmp_path / "bundle") as runtime:
        whole = predict.predict([slide], runtime, resume=kept)
        (kept / "0" / damage).write_bytes(b"\x93NUMPY cut off")
        counted = Slowed(runtime)
        again = predict.predict([slide], counted, resume=kept)
    assert counted.tiles == 400
    assert isinstance(whole, Prediction)
    assert isinstance(again, Prediction)
    assert again.scores == whole.scores


def test_a_stop_ends_the_run_within_a_second_and_keeps_what_is_done(
    slide: Path, tmp_path: Path
) -> None:
    asked_at = 0.0
    seen: list[Progress] = []

    def stop() -> bool:
        nonlocal asked_at
        if seen and seen[-1].tiles_done >= 100 and not asked_at:
            asked_at = time.monotonic()
        return asked_at > 0

    with student(tmp_path / "bundle", threads=2) as runtime:
        with pytest.raises(Stopped, match=r"stopped after \d+ of 400 tiles"):
            predict.predict(
                [slide],
                Slowed(runtime, 0.05),
                progress=seen.append,
                stop=stop,
                resume=tmp_path / "kept",
            )
        assert time.monotonic() - asked_at < 1.0
        done = done_of(tmp_path / "kept")
        assert 100 <= done < 400
        counted = Slowed(runtime)
        predict.predict([slide], counted, resume=tmp_path / "kept")
        assert counted.tiles == 400 - done


def test_a_lost_device_ends_the_run_and_what_was_done_is_kept(slide: Path, tmp_path: Path) -> None:
    with student(tmp_path / "bundle", threads=2) as runtime:
        with pytest.raises(DeviceFailed, match="lost"):
            predict.predict([slide], Slowed(runtime, 0.0, 200), resume=tmp_path / "kept")
        assert done_of(tmp_path / "kept") >= 150


# -- frames that cannot be read -------------------------------------------------------------------


@pytest.fixture
def broken(slide: Path) -> list[Path]:
    """The slide without the pixels of its last frame, and a whole level to see the tissue on."""
    slide.write_bytes(slide.read_bytes()[:-1000])
    small = tissue(40, 40)
    return [slide, write_level(slide.with_name("small.dcm"), small, mpp=8.0, frame=(40, 40))]


def test_a_bundle_may_tolerate_some_unreadable_tiles_and_the_report_counts_them(
    broken: list[Path], tmp_path: Path
) -> None:
    def change(values: dict[str, Any]) -> None:
        values["input"]["unreadable_tiles"] = 0.05

    with student(tmp_path / "bundle", change) as runtime:
        result = predict.predict(broken, runtime)
    assert isinstance(result, Prediction)
    (warning,) = [w for w in result.warnings if "could not be read" in w]
    left_out = int(warning.split()[0])
    assert 1 <= left_out <= 20
    assert result.tiles_analyzed == 400 - left_out
    assert "Frame 42 of instance" in warning
    assert np.isnan(result.heatmaps[0].values[-1, -1])
    assert np.isfinite(result.heatmaps[0].values[0]).all()


def test_more_unreadable_tiles_than_tolerated_make_the_slide_not_assessable(
    broken: list[Path], tmp_path: Path
) -> None:
    def change(values: dict[str, Any]) -> None:
        values["input"]["unreadable_tiles"] = 0.001

    for threads in (1, 2, 4):
        with student(tmp_path / f"bundle-{threads}", change, threads=threads) as runtime:
            result = predict.predict(broken, runtime)
        assert isinstance(result, NotAssessable)
        assert result.reason == Reason.FRAMES_UNREADABLE
        assert "Frame 42 of instance" in result.detail


def test_values_of_a_tile_that_could_not_be_read_are_never_kept(
    broken: list[Path], tmp_path: Path
) -> None:
    def change(values: dict[str, Any]) -> None:
        values["input"]["unreadable_tiles"] = 0.05

    with student(tmp_path / "bundle", change) as runtime:
        first = predict.predict(broken, runtime, resume=tmp_path / "kept")
        second = predict.predict(broken, runtime, resume=tmp_path / "kept")
    for n, result in enumerate((first, second)):
        archive.save(result, tmp_path / f"{n}.npz")
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()


def test_the_key_of_what_is_kept_is_readable_by_people(slide: Path, tmp_path: Path) -> None:
    with student(tmp_path / "bundle") as runtime:
        predict.predict([slide], runtime, resume=tmp_path / "kept")
        key = json.loads((tmp_path / "kept" / "0" / "key.json").read_text())
        assert key["engine"] == runtime.engine
        assert key["bundle"] == runtime.bundle.digest
    assert Resume(tmp_path, key).key == key


# -- errors that nobody foresaw -------------------------------------------------------------------


class Failing(Counting):
    """A level of which a frame cannot be decoded for want of memory, once others wait for it."""

    def __init__(self, real: Level, frame: tuple[int, int], error: BaseException) -> None:
        super().__init__(real)
        self.frame, self.error = frame, error
        self.waited_for = Event()

    def decode_into(self, row: int, col: int, out: NDArray[np.uint8]) -> None:
        if (row, col) == self.frame:
            self.waited_for.wait(5)
            raise self.error
        super().decode_into(row, col, out)


@pytest.mark.parametrize("error", [MemoryError("no room"), KeyError("x"), SystemExit(1)])
def test_whatever_ends_the_decoding_of_a_frame_reaches_all_who_ask_for_it(
    slide: Path, error: BaseException
) -> None:
    with sources_of(slide) as (source,):
        level = Failing(source.level, (1, 1), error)
        shared = SharedFrames(level, [source])  # type: ignore[arg-type]
        shared.take((0, 0))
        for _ in range(int(shared._uses[0, 0])):  # its buffer is used again, old pixels and all
            shared.give_back((0, 0))
        found: list[BaseException | NDArray[np.uint8]] = []

        def ask() -> None:
            try:
                found.append(shared.take((1, 1)))
            except BaseException as caught:  # noqa: BLE001 - looked at below
                found.append(caught)

        threads = [Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        level.waited_for.set()
        for thread in threads:
            thread.join()
        ask()
        assert found == [error] * 4


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_after_an_error_that_nobody_foresaw_nothing_wrong_is_kept(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    kept = tmp_path / "kept"
    real = Level.decode_into

    def fails(self: Level, row: int, col: int, out: NDArray[np.uint8]) -> None:
        if (row, col) == (5, 2) and current_thread() is not main_thread():
            time.sleep(0.3)  # the other lanes wait for this frame
            raise MemoryError
        real(self, row, col, out)

    with student(tmp_path / "bundle", engine="openvino", threads=threads) as runtime:
        whole = predict.predict([slide], runtime)
        with monkeypatch.context() as patch:
            patch.setattr(Level, "decode_into", fails)
            with pytest.raises(MemoryError):
                predict.predict([slide], runtime, resume=kept)
        left = np.load(kept / "0" / "done.npy").astype(bool)
        features = np.load(kept / "0" / "features.npy")
        counted = Slowed(runtime)
        again = predict.predict([slide], counted, resume=kept)
        made = np.load(kept / "0" / "features.npy")
    assert counted.tiles == 400 - left.sum()
    np.testing.assert_array_equal(features[left], made[left])
    for name, result in (("whole", whole), ("again", again)):
        archive.save(result, tmp_path / f"{name}.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_what_no_band_had_saved_is_not_saved_after_an_error_that_nobody_foresaw(
    slide: Path, tmp_path: Path
) -> None:
    class Broken(Slowed):
        def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
            if self.tiles >= 32:
                raise ZeroDivisionError
            return super().run(graph_name, arrays)

    with student(tmp_path / "bundle", threads=2) as runtime, pytest.raises(ZeroDivisionError):
        predict.predict([slide], Broken(runtime), resume=tmp_path / "kept")
    assert done_of(tmp_path / "kept") == 0


def test_the_first_error_of_a_lane_is_the_one_that_is_raised(slide: Path, tmp_path: Path) -> None:
    class Broken(Slowed):
        def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
            if current_thread().name.endswith("_0"):
                time.sleep(0.5)
                raise DeviceFailed("the device is lost")
            raise MemoryError

    with (
        student(tmp_path / "bundle", engine="openvino", threads=2) as runtime,
        pytest.raises(MemoryError),
    ):
        predict.predict([slide], Broken(runtime), resume=tmp_path / "kept")
