"""Identity rules: the files of one slide are of one patient, container and study.

Series and container say nothing of the patient, so a mix-up upstream shows only here. The sentences
name attributes and instances, never what stands in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inference.slide.claims.patient import Owner, first_difference
from inference.slide.images import SlideImage


def images_of_several_owners(images: Sequence[SlideImage]) -> str | None:
    """`owners_differ` for the images of one slide; other objects may be of anybody."""
    of_slide = [image for image in images if image.header.is_whole_slide_image]
    return owners_differ({uid: owner for i in of_slide for uid, owner in i.owners.items()})


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
