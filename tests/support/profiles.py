"""ICC profiles, sound and strange."""

from __future__ import annotations

from PIL import ImageCms


def profile_of(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def swapped_primaries() -> bytes:
    """sRGB whose red and blue are exchanged: a conversion that nobody can overlook."""
    profile = bytearray(profile_of("sRGB"))
    red, blue = profile.find(b"rXYZ"), profile.find(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)
