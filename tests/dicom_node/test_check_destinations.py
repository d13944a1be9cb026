"""What `check` says of destinations, and what is kept of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nodes import dicom_node, free_port
from pacs_profiles import EXPLICIT, SEG, SR_3D, SR_TEXT, ProfiledPacs, running

from dicom_node.commands.screen.destinations import destinations
from dicom_node.commands.screen.findings import Finding
from dicom_node.config.whole import Config
from dicom_node.deliver.choose import plan
from dicom_node.ledger.ledger import Ledger
from dicom_node.results import kinds


def config_of(folder: Path, port: int, **destination: Any) -> Config:
    where = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    return Config.model_validate(
        {
            "node": {"ae_title": "DICOMNODE", "data_dir": folder},
            "destinations": [{**where, **destination}],
        }
    )


@pytest.mark.parametrize(
    ("takes", "says", "ok"),
    [
        ([SR_3D, SEG], None, True),
        ([SR_3D], "heatmap is left out: it accepts no Segmentation Storage", True),
        ([SR_TEXT[:-1] + "7", SEG], "report cannot be sent in any form, and so nothing is", False),
    ],
)
def test_check_has_a_line_for_what_is_sent_otherwise(takes, says, ok, tmp_path):
    with running(ProfiledPacs({sop_class: [EXPLICIT] for sop_class in takes})) as pacs:
        first, *others = destinations(config_of(tmp_path, pacs.port))
    assert first.ok
    told = [(line.ok, line.warns) for line in others if says and says in line.says]
    assert told == ([(ok, ok)] if says else [])
    assert bool(others) is bool(says)


def test_objects_that_nobody_makes_are_a_finding_and_end_the_start(tmp_path):
    port = free_port()
    config = config_of(tmp_path, port, objects=["report", "film"])
    assert list(destinations(config)) == [
        Finding(
            "destinations",
            False,
            "destinations.pacs.objects: found film, expected some of "
            + ", ".join(kind.name for kind in kinds.KINDS),
        )
    ]
    file = tmp_path / "node.toml"
    file.write_text(
        f"[node]\nae_title = 'N'\ndata_dir = 'd'\n[[destinations]]\nname = 'pacs'\n"
        f"ae_title = 'PACS'\nhost = '127.0.0.1'\nport = {port}\nobjects = ['report', 'film']\n"
    )
    started = dicom_node("serve", "--config", str(file))
    assert started.returncode != 0
    assert "found film, expected some of" in started.stdout + started.stderr


def test_the_last_answer_counts_while_the_destination_is_down(tmp_path):
    ledger = Ledger.open(tmp_path / "node.sqlite")
    with running(ProfiledPacs({SR_3D: [EXPLICIT]})) as pacs:
        config = config_of(tmp_path, pacs.port)
        list(destinations(config))
    (down,) = destinations(config)
    assert not down.ok
    seen = ledger.queries.destinations()
    assert not seen["pacs"].reachable
    assert "cannot be reached" in seen["pacs"].reason
    (told,) = plan(config.destinations, seen).told([]).values()
    assert any("heatmap is left out: it accepts no Segmentation Storage" in line for line in told)
