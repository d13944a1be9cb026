"""The plan of the next slide is made while one is encoded, and changes nothing."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from students import student
from tiny_slides import write_level

from engines.runtime import Runtime
from inference import archive, predict
from inference.errors import SlideUnreadable, Stopped
from inference.tiles import ahead as module
from inference.tiles.ahead import Ahead
from inference.tiles.planned import Asked, Planned, plan_slide
from inference.tissue import view
from inference.types import NotAssessable


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with student(tmp_path_factory.mktemp("ahead") / "tiny") as opened:
        yield opened


def tissue(rows: int, cols: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pink all over, of a red that differs from pixel to pixel."""
    pixels = np.full((rows, cols, 3), (0, 100, 99), np.uint8)
    pixels[..., 0] = np.random.default_rng(seed).integers(128, 157, (rows, cols))
    return pixels


class Slowed:
    """A runtime whose encoder takes its time."""

    def __init__(self, real: Runtime, seconds: float) -> None:
        self.real = real
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def run(self, graph_name: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
        if graph_name == "encoder":
            time.sleep(self.seconds)
        return self.real.run(graph_name, arrays)


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    return [
        write_level(tmp_path / f"{n}.dcm", tissue(480, 480, seed=n), frame=(100, 120))
        for n in range(3)
    ]


class Plans:
    """Counts plans, with the threads that make them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[Path, str]] = []
        self.kept: list[Planned] = []
        self.gate = threading.Event()
        self.gate.set()
        monkeypatch.setattr(module, "plan_slide", self._plan)

    def _plan(self, asked: Asked, stop: Callable[[], bool]) -> Planned:
        self.made.append((asked.paths[0], threading.current_thread().name.partition("_")[0]))
        if threading.current_thread() is not threading.main_thread():
            self.gate.wait(20)
        planned = plan_slide(asked, stop)
        self.kept.append(planned)
        return planned


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    return Plans(monkeypatch)


def asked_for(path: Path, runtime: Runtime) -> Asked:
    return Asked.of([path], runtime.manifest)


def is_open(planned: Planned) -> bool:
    (descriptor, *_) = planned.slide.levels[0].stored._descriptors
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def saved(results: Sequence[object], folder: Path) -> list[bytes]:
    found = []
    for result in results:
        archive.save(result, folder / "prediction.npz")  # type: ignore[arg-type]
        found.append((folder / "prediction.npz").read_bytes())
    return found


def test_the_next_slide_is_planned_meanwhile_and_the_predictions_are_the_same_bytes(
    slides: list[Path], runtime: Runtime, plans: Plans, tmp_path: Path
) -> None:
    alone = saved([predict.predict([slide], runtime) for slide in slides], tmp_path)
    plans.made.clear()
    found = []
    with closing(Ahead()) as ahead:
        for slide, after in zip(slides, [*slides[1:], None], strict=True):
            ahead.expect(None if after is None else asked_for(after, runtime))
            found.append(predict.predict([slide], Slowed(runtime, 0.02), ahead=ahead))
    assert saved(found, tmp_path) == alone
    first, *others = plans.made
    assert first == (slides[0], "MainThread")
    assert others == [(slide, "ahead") for slide in slides[1:]]
    assert not any(is_open(planned) for planned in plans.kept)


def test_at_most_one_slide_is_planned_ahead(
    slides: list[Path], runtime: Runtime, plans: Plans
) -> None:
    plans.gate.clear()
    with closing(Ahead()) as ahead:
        for slide in slides[1:]:
            ahead.expect(asked_for(slide, runtime))
            with ahead.opened(asked_for(slides[0], runtime)):
                pass
        wait_for(lambda: len([1 for _, by in plans.made if by == "ahead"]) == 1)
        time.sleep(0.2)
        assert [path for path, by in plans.made if by == "ahead"] == [slides[1]]
        plans.gate.set()
    assert len(plans.kept) == 2, "what was not expected any more was given up"
    assert not any(is_open(planned) for planned in plans.kept)


def test_what_is_wrong_with_the_next_slide_is_said_when_its_turn_comes_as_without(
    slides: list[Path], runtime: Runtime, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(slides[1].read_bytes()[:200])
    glass = write_level(tmp_path / "glass.dcm", tissue(480, 480) * 0 + 243, frame=(100, 120))
    refused = predict.predict([glass], runtime)
    assert isinstance(refused, NotAssessable)
    with pytest.raises(SlideUnreadable) as alone:
        predict.predict([broken], runtime)
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(broken, runtime))
        assert not isinstance(predict.predict([slides[0]], runtime, ahead=ahead), NotAssessable)
        ahead.expect(asked_for(glass, runtime))
        with pytest.raises(SlideUnreadable) as told:
            predict.predict([broken], runtime, ahead=ahead)
        assert str(told.value) == str(alone.value)
        ahead.expect(asked_for(glass, runtime))
        predict.predict([slides[2]], runtime, ahead=ahead)
        assert predict.predict([glass], runtime, ahead=ahead) == refused


def test_an_error_that_has_passed_when_its_turn_comes_is_not_told(
    slides: list[Path], runtime: Runtime, tmp_path: Path
) -> None:
    away = tmp_path / "away.dcm"
    shutil.move(slides[1], away)
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(slides[1], runtime))
        predict.predict([slides[0]], runtime, ahead=ahead)
        shutil.move(away, slides[1])
        assert not isinstance(predict.predict([slides[1]], runtime, ahead=ahead), NotAssessable)


def test_a_file_that_was_replaced_since_is_read_anew(
    slides: list[Path], runtime: Runtime, plans: Plans, tmp_path: Path
) -> None:
    expected = saved([predict.predict([slides[2]], runtime)], tmp_path)
    plans.made.clear()
    plans.kept.clear()
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(slides[1], runtime))
        predict.predict([slides[0]], runtime, ahead=ahead)
        wait_for(lambda: len(plans.kept) == 2)
        os.replace(slides[2], slides[1])
        found = predict.predict([slides[1]], runtime, ahead=ahead)
        assert saved([found], tmp_path) == expected
        assert plans.made[-1] == (slides[1], "MainThread")
        wait_for(lambda: not any(is_open(planned) for planned in plans.kept))


def test_another_student_is_not_given_the_plan_of_one(
    slides: list[Path], runtime: Runtime, plans: Plans
) -> None:
    other = replace(
        asked_for(slides[1], runtime),
        wanted=runtime.manifest.input.model_copy(update={"mpp_tolerance": 0.4}),
    )
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(slides[1], runtime))
        with ahead.opened(asked_for(slides[0], runtime)):
            wait_for(lambda: len(plans.kept) == 2)
        with ahead.opened(other):
            assert plans.made[-1] == (slides[1], "MainThread")
            assert not is_open(plans.kept[1])


def test_a_stop_ends_the_plan_ahead_between_two_looks_and_closes_its_files(
    slides: list[Path],
    runtime: Runtime,
    plans: Plans,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view, "_BLOCK_PX", 128)
    reduced, looks = view.reduce, []

    def slow(*given: object) -> object:
        if threading.current_thread() is not threading.main_thread():
            looks.append(given)
            time.sleep(0.05)
        return reduced(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(view, "reduce", slow)
    large = write_level(tmp_path / "large.dcm", tissue(2048, 2048), frame=(256, 256))
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(large, runtime))
        with pytest.raises(Stopped):
            predict.predict(
                [slides[0]], Slowed(runtime, 0.05), ahead=ahead, stop=lambda: len(looks) > 1
            )
        began = time.monotonic()
        ahead.close()
        assert time.monotonic() - began < 2
    assert 1 < len(looks) < 100
    assert len(plans.kept) == 1, "the plan of the large slide was given up"


def test_a_stop_ends_the_wait_for_a_plan(
    slides: list[Path], runtime: Runtime, plans: Plans
) -> None:
    plans.gate.clear()
    with closing(Ahead()) as ahead:
        ahead.expect(asked_for(slides[1], runtime))
        with ahead.opened(asked_for(slides[0], runtime)):
            pass
        with pytest.raises(Stopped), ahead.opened(asked_for(slides[1], runtime), lambda: True):
            pass
        plans.gate.set()
    assert len(plans.kept) == 1, "the plan that was waited for was given up"
    assert not any(is_open(planned) for planned in plans.kept)


def test_a_stop_ends_the_plan_of_a_slide_whose_turn_it_is(
    slides: list[Path], runtime: Runtime
) -> None:
    with pytest.raises(Stopped, match="tissue"):
        predict.predict([slides[0]], runtime, stop=lambda: True)
