"""Identity rules: the files of one slide are of one patient, container and study.

Series and container say nothing of the patient, so a mix-up upstream shows only here. The sentences
name attributes and instances, never what stands in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from inference.slide.claims.patient import Owner, first_difference
from inference.slide.headers import ImageHeader
from inference.slide.images import SlideImage


def images_of_several_owners(images: Sequence[SlideImage]) -> str | None:
    """`owners_differ` for the images of one slide; other objects may be of anybody."""
    of_slide = [image for image in images if image.header.is_whole_slide_image]
    return owners_differ({uid: owner for i in of_slide for uid, owner in i.owners.items()})


def unnamed(headers: Iterable[ImageHeader]) -> str | None:
    """Every image of a slide says of which study and series it is; results refer to it so."""
    for header in headers:
        uids = {
            "Study Instance UID": header.study_instance_uid,
            "Series Instance UID": header.series_instance_uid,
        }
        missing = [name for name, uid in uids.items() if not uid]
        if missing:
            return (
                f"instance {header.sop_instance_uid} states no {' and no '.join(missing)}; results "
                "could not refer to it"
            )
    return None


def owners_differ(owners: Mapping[str, Owner]) -> str | None:
    """Everything that names the owner agrees; `owners` by SOP Instance UID."""
    found = first_difference(owners)
    if found is None:
        return None
    is_patient = any("Patient" in keyword for keyword in found.attributes)
    return (
        f"files of different {'patients' if is_patient else 'studies or containers'}: "
        f"{', '.join(found.attributes)} differ between {found.one} and {found.other}. Nothing is "
        "made of it; correct the study at its source and send it again"
    )
