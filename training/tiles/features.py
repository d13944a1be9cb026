"""`dicom-train features`: tile features of many slides, in this process or by N workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.tiles import feature_queue
from training.tiles.encoders import Encoder, open_encoder
from training.tiles.slide_features import Outcome, extract_slide, is_finished, magnifications
from training.tiles.slide_files import SlideFiles, find_slides


@dataclass(frozen=True)
class Report:
    """What became of the slides, by id."""

    outcomes: tuple[Outcome, ...]

    def of(self, state: str) -> tuple[Outcome, ...]:
        """The slides that were `written`, `skipped` or `refused`."""
        return tuple(o for o in self.outcomes if o.state == state)

    @property
    def sentence(self) -> str:
        """The counts: nothing is left out silently."""
        counts = [f"{len(self.of(s))} {s}" for s in ("written", "skipped", "refused")]
        return f"{len(self.outcomes)} slides: {', '.join(counts)}."


def run(
    slides: Sequence[Path],
    encoder_name: str,
    out: Path,
    *,
    mpp: Sequence[float] = (),
    workers: int = 1,
    database_url: str | None = None,
    take_over: Sequence[str] = (),
    quiet: bool = False,
) -> Report:
    """Features of the slides in these folders and files to OUT/mpp-M/SLIDE.h5.

    A slide that is finished (same contents, encoder and magnification) is skipped: its files are
    read once for that. With `workers` > 1 or a `database_url` the slides go through the durable
    queue (tiles/feature_queue.py), on as many machines as run this with the same URL and folders;
    `take_over` names machines that died, whose slides are begun anew. Raises TrainingError.
    """
    found = find_slides(slides, tiff=True)
    with open_encoder(encoder_name) as encoder, _bar(quiet) as bar:
        mpps = magnifications(encoder, mpp)
        if workers == 1 and database_url is None and not take_over:
            return extract(found, encoder, out, mpps, bar=bar)
        job = feature_queue.Job(
            encoder_name=encoder_name,
            encoder_digest=encoder.digest,
            out=out.resolve(),
            mpps=mpps,
            database_url=database_url or feature_queue.sqlite_url(out),
        )
        task = bar.add_task("slides", total=len(found))
        finished = [slide for slide in found if is_finished(slide, encoder, out, mpps)]
        bar.advance(task, len(finished))
        outcomes = [Outcome(slide.slide, "skipped") for slide in finished]
        todo = [slide for slide in found if slide not in finished]
        if todo:
            outcomes += feature_queue.run(
                job, todo, workers, done=lambda _: bar.advance(task), take_over=take_over
            )
    return Report(tuple(sorted(outcomes, key=lambda o: o.slide)))


def extract(
    slides: Sequence[SlideFiles],
    encoder: Encoder,
    out: Path,
    mpps: Sequence[float],
    *,
    bar: Progress | None = None,
) -> Report:
    """The same in this process, one slide after the other. Raises what `extract_slide` raises."""
    shown = bar or _bar(quiet=True)
    total = shown.add_task("slides", total=len(slides))
    outcomes = []
    for slide in slides:
        task = shown.add_task(slide.slide, total=None)
        outcomes.append(
            extract_slide(
                slide,
                encoder,
                out,
                mpps,
                tick=lambda done, of, task=task: shown.update(task, completed=done, total=of),  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            )
        )
        shown.remove_task(task)
        shown.advance(total)
    return Report(tuple(outcomes))


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=quiet,
    )
