"""The loop, the batches and the checkpoints, on small drawn patients."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the training extra")

from training.errors import TrainingError  # noqa: E402
from training.learning.bags import Patients, capped, fixed_rows, on_instances  # noqa: E402
from training.learning.journal import Journal  # noqa: E402
from training.learning.loop import Schedule, cell_weights, learning_rate_factor, train  # noqa: E402

ROOT = Path(__file__).parents[2]
SCHEDULE = Schedule(epochs=4, lr=1e-2, weight_decay=0.0, window=8)


def drawn(count=24, seed=0, classes=1):
    light = torch.Generator().manual_seed(seed)
    bags = tuple(torch.randn(3 + i % 5, 4, generator=light) for i in range(count))
    return Patients(
        ids=tuple(f"P{i:02d}" for i in range(count)),
        bags=bags,
        genes=torch.randn(count, 6, generator=light),
        time=torch.rand(count, generator=light) * 50 + 1,
        event=(torch.rand(count, generator=light) < 0.5).float(),
        bin=torch.arange(count) % 4,
        label=torch.arange(count) % classes,
        age=torch.full((count,), 60.0),
    )


def regression(patients, journal, schedule=SCHEDULE, seed=0, **options):
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))

    def losses(batch):
        found = model((batch.bags * batch.mask.unsqueeze(-1)).sum(dim=1))[:, 0]
        return {"total": (found - batch.time / 50).square().mean()}

    return train("drawn", model, losses, patients, schedule, seed=seed, journal=journal, **options)


def test_a_batch_is_padded_with_zeros_and_says_where_the_instances_are():
    patients = drawn()
    batch = patients.batch([4, 0, 4])
    assert batch.bags.shape == (3, 7, 4)
    assert batch.mask.sum(dim=1).tolist() == [7, 3, 7]
    assert torch.equal(batch.bags[1, :3], patients.bags[0])
    assert not batch.bags[1, 3:].any()
    assert batch.rows.tolist() == [4, 0, 4]


def test_a_layer_on_instances_equals_the_layer_on_each_bag_and_leaves_padding_at_zero():
    batch = drawn().batch([4, 0])
    layer = torch.nn.Linear(4, 5)
    found = on_instances(layer, batch.bags, batch.mask)
    assert torch.allclose(found[0], layer(batch.bags[0]))
    assert torch.allclose(found[1, :3], layer(batch.bags[1, :3]))
    assert not found[1, 3:].any()


def test_a_fixed_size_bag_repeats_few_instances_and_thins_many_evenly(oracles):
    assert fixed_rows(2, 5).tolist() == [0, 1, 0, 1, 0]
    assert fixed_rows(7, 5).tolist() == [0, 1, 3, 4, 6]
    assert fixed_rows(1000, 2500)[-1] == 499
    assert fixed_rows(6000, 2500)[:4].tolist() == [0, 2, 5, 7]
    assert fixed_rows(6000, 2500)[-1] == 5998


def test_a_cap_takes_that_many_instances_in_their_order_and_none_twice():
    bag = torch.arange(30.0).reshape(10, 3)
    taken = capped(bag, 4, torch.Generator().manual_seed(0))
    assert taken.shape == (4, 3)
    assert (taken[1:, 0] > taken[:-1, 0]).all()
    assert capped(bag, 0, torch.Generator()) is bag


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    found = [learning_rate_factor(step, 100, 1000, True) for step in (0, 50, 100, 550, 1000)]
    assert found == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert learning_rate_factor(900, 0, 1000, False) == 1


def test_every_class_is_drawn_equally_often_and_every_cell_where_there_are_no_classes():
    labels = replace(drawn(4), label=torch.tensor([0, 0, 0, 1]))
    assert cell_weights(labels).tolist() == pytest.approx([4 / 3, 4 / 3, 4 / 3, 4])
    cells = replace(
        drawn(4), bin=torch.tensor([0, 0, 1, 1]), event=torch.tensor([1.0, 1.0, 1.0, 0.0])
    )
    assert cell_weights(cells).tolist() == [2, 2, 4, 4]


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tmp_path):
    with Journal(tmp_path / "a") as a, Journal(tmp_path / "b") as b, Journal(tmp_path / "c") as c:
        first, again = regression(drawn(), a), regression(drawn(), b)
        other = regression(drawn(), c, seed=1)
    assert all(torch.equal(first.last[name], again.last[name]) for name in first.last)
    assert not all(torch.equal(first.last[name], other.last[name]) for name in first.last)


def test_inner_validation_keeps_the_best_epoch_and_patience_stops(tmp_path):
    scores = iter([1.0, 5.0, 2.0, 3.0, 4.0, 4.5])
    schedule = replace(SCHEDULE, epochs=6, patience=2)
    with Journal(tmp_path) as journal:
        states = regression(drawn(), journal, schedule, judge=lambda: next(scores))
    assert (states.best_epoch, states.epochs) == (2, 4)
    assert not torch.equal(states.best["0.weight"], states.last["0.weight"])


def test_a_phase_that_finished_is_not_trained_again(tmp_path):
    with Journal(tmp_path) as journal:
        first = regression(drawn(), journal)
        again = regression(drawn(), journal, after_backward=lambda batch: pytest.fail("trained"))
    assert torch.equal(first.last["0.weight"], again.last["0.weight"])


def test_an_inner_validation_that_is_no_number_stops_the_run(tmp_path):
    with Journal(tmp_path) as journal, pytest.raises(TrainingError, match="inner validation nan"):
        regression(drawn(), journal, judge=lambda: math.nan)


def test_a_loss_that_is_no_number_stops_the_run_with_a_sentence(tmp_path):
    patients = drawn()
    broken = replace(patients, time=torch.full_like(patients.time, math.nan))
    with Journal(tmp_path) as journal, pytest.raises(TrainingError, match="found loss total = nan"):
        regression(broken, journal)


def test_the_cap_on_instances_holds_for_every_step(tmp_path):
    seen = []
    schedule = replace(SCHEDULE, epochs=1, max_instances=2)
    with Journal(tmp_path) as journal:
        regression(
            drawn(),
            journal,
            schedule,
            after_backward=lambda batch: seen.append(batch.mask.shape[1]),
        )
    assert seen == [2, 2, 2]


KILLED = """
import sys, time
from pathlib import Path
import torch
sys.path[:0] = [{tests!r}, {support!r}, {root!r}]
import test_loop as here
from training.learning.journal import Journal
from dataclasses import replace
torch.set_num_threads(1)
slow = lambda batch: time.sleep({sleep})
schedule = replace(here.SCHEDULE, epochs=8)
with Journal(Path(sys.argv[1]), checkpoint_every_s={every}) as journal:
    states = here.regression(here.drawn(), journal, schedule, after_backward=slow)
torch.save(states.last, Path(sys.argv[1]) / "last.pt")
"""


def trained(directory, sleep):
    script = KILLED.format(
        tests=str(Path(__file__).parent),
        support=str(ROOT / "tests" / "support"),
        root=str(ROOT),
        sleep=sleep,
        every=0.15,
    )
    return subprocess.Popen([sys.executable, "-c", script, str(directory)])


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert trained(whole, 0).wait(timeout=120) == 0
    process = trained(cut, 0.1)
    deadline = time.monotonic() + 120
    log = cut / "log.csv"
    while time.monotonic() < deadline and (not log.exists() or log.read_text().count("\n") < 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "last.pt").exists()
    assert trained(cut, 0).wait(timeout=120) == 0
    expected, found = (torch.load(d / "last.pt", weights_only=True) for d in (whole, cut))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = [line.split(",")[:3] for line in log.read_text().splitlines()[1:]]
    assert len(rows) == 8 == len({tuple(row) for row in rows})


def test_a_rewind_that_is_cut_off_loses_no_line_of_the_log(tmp_path, monkeypatch):
    with Journal(tmp_path) as journal:
        for epoch in range(3):
            journal.row("fit", epoch, {"loss": 1.0 / (epoch + 1)})
        before = (tmp_path / "log.csv").read_text()

        def cut(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            journal.rewind("fit", 1)
        assert (tmp_path / "log.csv").read_text() == before


KILLED_IN_A_SAVE = """
import os, signal, sys
from pathlib import Path
from training.learning.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    journal.save("fit", {"epoch": 1})
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    journal.save("fit", {"epoch": 2})
"""


def test_a_checkpoint_that_a_kill_cut_off_leaves_the_one_before_and_ends_at_the_next_start(
    tmp_path,
):
    command = [sys.executable, "-c", KILLED_IN_A_SAVE, str(tmp_path)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".*.part"))) == 1
    with Journal(tmp_path) as journal:
        assert journal.saved("fit") == {"epoch": 1}
    assert not list(tmp_path.glob(".*.part"))


def test_after_a_rewind_the_log_goes_on_where_it_was_cut(tmp_path):
    with Journal(tmp_path) as journal:
        for epoch in range(3):
            journal.row("fit", epoch, {"loss": float(epoch)})
        journal.rewind("fit", 1)
        journal.row("fit", 2, {"loss": 7.0})
    lines = (tmp_path / "log.csv").read_text().split()
    assert [line.rpartition(",")[2] for line in lines if line.startswith("fit,")][-3:] == [
        "0",
        "1",
        "7",
    ]
