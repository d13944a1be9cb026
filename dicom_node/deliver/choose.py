"""What each destination is sent of what the node makes: chosen before the run, by what it takes.

Pure, over the table of kinds: a kind that a destination does not take is replaced by the first one
of its chain that it takes, and people are told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from dicom_node.config.loading import ConfigError
from dicom_node.config.peers import Destination
from dicom_node.deliver.forms.chains import Accepted, chain, is_report
from dicom_node.ledger.rows import DestinationSeen, Result
from dicom_node.results import kinds
from dicom_node.results.kinds import Selection, Wanted
from dicom_node.sop_classes import JPEG_LS_LOSSLESS, SEGMENTATION, SopClass

Refused = Mapping[str, str]
"""What a destination answered to the objects of a study that it refused for good: the status by the
name of the kind."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a destination is sent for one kind that it should get."""

    asked: str
    sent: str
    """Name of a kind; empty where nothing is sent for it."""
    lacks: tuple[str, ...] = ()
    """Names of the SOP classes that it does not accept and that would have come first."""
    is_hopeless: bool = False
    """Sent although it was not accepted: the report, whose refusal then is the reason."""
    refused: tuple[str, ...] = ()
    """What it answered to objects of kinds that would have come first, such as "A900 to report"."""

    @property
    def told(self) -> str:
        """A sentence for people; empty where the kind is sent as it is."""
        if not self.lacks and not self.refused:
            return ""
        lacks = [f"it accepts no {' and no '.join(self.lacks)}"] if self.lacks else []
        answers = [f"it answered {' and '.join(self.refused)}"] if self.refused else []
        why = " and ".join([*answers, *lacks])
        if self.is_hopeless:
            return f"{self.asked} cannot be sent in any form, and so nothing is: {why}"
        if self.sent:
            return f"{self.sent} is sent in the place of {self.asked}: {why}"
        return f"{self.asked} is left out: {why}"

    def told_of(self, made: Collection[str]) -> str:
        """The same, where objects of these kinds were made."""
        if not self.sent or self.sent in made:
            return self.told
        if self.told and self.asked in made:
            return f"{self.asked} is left out: no {self.sent} is made of it"
        return ""  # there is nothing of the kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What every destination is sent, for one study."""

    choices: Mapping[str, tuple[Choice, ...]]
    """By the name of the destination."""
    on_level: frozenset[str] = frozenset()
    """Names of the destinations whose segmentations have the grid of a level of the slide."""

    @property
    def wanted(self) -> Wanted:
        """What is made for somebody who asks for it; a set for each who is sent something else."""
        sets = {s.own_kind: s for s in self.selections.values() if kinds.SET.name in s.kinds}
        return Wanted(self.asked, tuple(sets[name] for name in sorted(sets)))

    @property
    def selections(self) -> dict[str, Selection]:
        """What each destination is sent, by its name."""
        return {
            name: Selection(frozenset(c.sent for c in choices if c.sent), name in self.on_level)
            for name, choices in self.choices.items()
        }

    @property
    def asked(self) -> frozenset[str]:
        """Names of the kinds that are made for somebody who asks for them."""
        sent = {choice.sent for choices in self.choices.values() for choice in choices}
        laid = {c.sent for name in self.on_level for c in self.choices[name]}
        if any(kind.name in laid for kind in kinds.USUAL_SEGMENTATIONS):
            sent.add(kinds.LEVEL.name)
        return frozenset(k.name for k in kinds.KINDS if k.asked and k.name in sent)

    def routes(self, made: Sequence[Result]) -> dict[str, frozenset[str]]:
        """SOP Instance UIDs of what each destination is sent, by its name."""
        by_model = [[r for r in made if r.model == m] for m in {r.model for r in made}]
        return {
            name: frozenset(r.sop_instance_uid for some in by_model for r in selection.of(some))
            for name, selection in self.selections.items()
        }

    def lacking(self, made: Sequence[Result]) -> list[str]:
        """What an operator must see to: a report that a destination is sent in no form, since the
        one that was chosen for it is not made of such a result, or could not be made."""
        found: dict[str, None] = {}
        reports = [r for r in made if r.kind == kinds.REPORT.name and not r.silent]
        for name, choices in self.choices.items():
            sent = {(r.slide, r.model) for r in made
                    if is_report(r.kind) and _is_among(r.kind, choices)}  # fmt: skip
            chosen = " or ".join(c.sent for c in choices if is_report(c.sent))
            for one in reports:
                if (one.slide, one.model) not in sent:
                    of = "the case" if one.slide == kinds.CASE else f"slide {one.slide}"
                    found[f"{name} gets no report of {of}: there is no {chosen} of it"] = None
        return list(found)

    def told(self, made: Sequence[Result]) -> dict[str, list[str]]:
        """What is sent otherwise than asked, by destination; only those where something is."""
        names = {kind.name for r in made if (kind := kinds.kind_of(r.kind))}
        lines = {
            name: [
                *(c.told_of(names) for c in choices if c.told_of(names)),
                *(self._not_laid(made, choices) if name in self.on_level else ()),
            ]
            for name, choices in self.choices.items()
        }
        return {name: said for name, said in lines.items() if said}

    def _not_laid(self, made: Sequence[Result], choices: Sequence[Choice]) -> list[str]:
        """Which segmentations keep the grid of the tiles at a destination that wants another."""
        laid = _on_level(made)
        return [
            f"{r.kind} of slide {r.slide} is sent on the grid of the tiles: no level of the slide "
            "fits it; the log says why"
            for r in made
            if kinds.kind_of(r.kind) in kinds.USUAL_SEGMENTATIONS
            and _is_among(r.kind, choices)
            and _what(r) not in laid
        ]


def plan(
    destinations: Sequence[Destination],
    seen: Mapping[str, DestinationSeen],
    refused: Mapping[str, Refused] | None = None,
) -> Plan:
    """By what each destination was last seen to accept, and what it `refused` of this study.

    One that was never asked, or not for a class, is taken to accept it: what it refuses then parks
    the study. An earlier version asked for fewer classes.
    """
    answers = {name: one.accepted for name, one in seen.items() if one.reachable or one.accepted}
    return Plan(
        {
            d.name: choices_of(d, answers.get(d.name), (refused or {}).get(d.name))
            for d in destinations
        },
        frozenset(
            d.name
            for d in destinations
            if d.heatmap_grid == "level" and kinds.LEVEL.name not in (refused or {}).get(d.name, {})
        ),
    )


def choices_of(
    destination: Destination, accepted: Accepted | None, refused: Refused | None = None
) -> tuple[Choice, ...]:
    """One choice for each kind that a destination should get; `accepted` is None where nobody
    knows."""
    return tuple(
        _choice(name, destination, accepted, refused or {}) for name in _objects(destination)
    )


def offered(destination: Destination, sop_class: SopClass) -> SopClass:
    """A SOP class with the transfer syntaxes that a destination is to be offered."""
    if sop_class.uid != SEGMENTATION.uid or destination.seg_syntax != "explicit":
        return sop_class
    syntaxes = tuple(t for t in sop_class.transfer_syntaxes if t != JPEG_LS_LOSSLESS)
    return replace(sop_class, transfer_syntaxes=syntaxes)


def require_known(destinations: Sequence[Destination]) -> None:
    """Raises ConfigError where a destination should get what nobody makes, or no report."""
    names = [kind.name for kind in kinds.KINDS]
    reports = [kind.name for kind in chain(kinds.REPORT.name)]
    for destination in destinations:
        where = f"destinations.{destination.name}.objects"
        found = _objects(destination)
        if strange := [name for name in found if name not in names]:
            raise ConfigError(
                f"{where}: found {', '.join(strange)}, expected some of {', '.join(names)}"
            )
        if not set(found) & set(reports):
            raise ConfigError(
                f"{where}: found {', '.join(found)} and no report: nothing is sent without one, so "
                f"add {' or '.join(reports)}"
            )


def _objects(destination: Destination) -> tuple[str, ...]:
    """What a destination should get: by default what is made without being asked for."""
    if destination.objects is not None:
        return tuple(dict.fromkeys(destination.objects))
    return tuple(kind.name for kind in kinds.KINDS if not kind.asked)


def _choice(
    name: str, destination: Destination, accepted: Accepted | None, refused: Refused
) -> Choice:
    lacks: list[str] = []
    answers: list[str] = []
    for kind in chain(name):
        if kind.name in refused:
            answers.append(f"{refused[kind.name]} to {kind.name}")
            continue
        is_known = accepted is not None and kind.sop_class.uid in accepted
        if accepted is None or not is_known or _takes(destination, kind.sop_class, accepted):
            return Choice(name, kind.name, tuple(lacks), refused=tuple(answers))
        if kind.sop_class.name not in lacks:
            lacks.append(kind.sop_class.name)
    sent = name if is_report(name) else ""
    return Choice(name, sent, tuple(lacks), is_hopeless=bool(sent), refused=tuple(answers))


def _takes(destination: Destination, sop_class: SopClass, accepted: Accepted) -> bool:
    """Whether an object of the class can be sent: compressed ones are decompressed if need be."""
    syntaxes = {t.uid for t in offered(destination, sop_class).transfer_syntaxes}
    return not syntaxes.isdisjoint(accepted.get(sop_class.uid, ()))


def _is_among(own_kind: str, choices: Sequence[Choice]) -> bool:
    kind = kinds.kind_of(own_kind)
    return kind is None or any(choice.sent == kind.name for choice in choices)


_What = tuple[str, str, str]
"""Slide, model and own kind of an object."""


def _what(result: Result) -> _What:
    return result.slide, result.model, result.kind


def _on_level(made: Sequence[Result]) -> dict[_What, Result]:
    """Segmentations on the grid of a level, by what they are a variant of."""
    prefix = f"{kinds.LEVEL.name}-"
    return {
        (r.slide, r.model, r.kind.removeprefix(prefix)): r
        for r in made
        if kinds.kind_of(r.kind) == kinds.LEVEL
    }
