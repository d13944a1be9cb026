"""Dates of results, and the zone that they are in."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom import Dataset

from dicom_node.results.identity import Provenance

NO_DATE = datetime(1900, 1, 1, tzinfo=UTC)
"""Stands for the date of a slide that states none, where a result has to have one."""
_OFFSET = re.compile(r"([+-]?)([01]\d)([0-5]\d)")
_DATE_TIME = re.compile(r"(\d{8})(\d{0,6})(?:\.\d+)?([+-]\d{4})?")
_DATE_TIMES = ("AcquisitionDateTime",)
_DATES = ("Acquisition", "Content", "Series", "Study")
"""Of a slide, the nearest to its scan first."""


def set_dates(dataset: Dataset, source: Dataset, provenance: Provenance) -> str:
    """Dates and times of an object, and the zone of all of them; when we contributed, as a DT.

    Timezone Offset From UTC (PS3.3 C.12.1) is the slide's, or that of UTC. Where the slide is the
    only source of a date, there is no time of making: then the DT is empty.
    """
    if provenance.created_at.utcoffset() is None:
        raise ValueError(
            f"created_at {provenance.created_at} has no time zone; expected an aware datetime"
        )
    at = provenance.created_at.astimezone(zone_of(source) or UTC)
    dataset.TimezoneOffsetFromUTC = at.strftime("%z")
    _set(dataset, "Content", at)
    for kind in ("InstanceCreation", "Series"):
        _set(dataset, kind, at if provenance.made_then else None)
    return at.strftime("%Y%m%d%H%M%S%z") if provenance.made_then else ""


def zone_of(header: Dataset) -> tzinfo | None:
    """The zone that a slide states for all its dates and times; None where it states none.

    Timezone Offset From UTC, `+HHMM` or `-HHMM` (PS3.3 C.12.1.1.8), whose sign may be missing, or
    the offset that the time of its acquisition ends in (DT, PS3.5 6.2); what is no offset is none.
    """
    texts = [str(header.get("TimezoneOffsetFromUTC") or "").strip()]
    texts += [found[3] for found in _date_times(header) if found[3]]
    found = next(filter(None, map(_OFFSET.fullmatch, texts)), None)
    if found is None:
        return None
    sign = -1 if found[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(found[2]), minutes=int(found[3])))


def taken_at(header: Dataset) -> datetime:
    """When a slide says that it was scanned, or the next that it says; `NO_DATE` if nothing.

    A time without a zone is as good as one in UTC: the same digits come out.
    """
    zone = zone_of(header) or UTC
    stated = [(found[1], found[2]) for found in _date_times(header)]
    for kind in _DATES:
        date, time = (str(header.get(f"{kind}{part}") or "").strip() for part in ("Date", "Time"))
        stated.append((date, time.partition(".")[0]))
    for date, time in stated:
        for digits in (f"{date}{time:0<6}", f"{date}000000"):
            try:
                return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=zone)
            except ValueError:  # no date, or no time
                continue
    return NO_DATE


def acquired(header: Dataset) -> str:
    """Acquisition DateTime as the slide has it; empty where that is no date and time."""
    return next((found[0] for found in _date_times(header)), "")


def _date_times(header: Dataset) -> list[re.Match[str]]:
    texts = (str(header.get(keyword) or "").strip() for keyword in _DATE_TIMES)
    return [found for found in map(_DATE_TIME.fullmatch, texts) if found]


def _set(dataset: Dataset, kind: str, at: datetime | None) -> None:
    for part, form in (("Date", "%Y%m%d"), ("Time", "%H%M%S")):
        if at is None:
            dataset.pop(f"{kind}{part}", None)
        else:
            setattr(dataset, f"{kind}{part}", at.strftime(form))
