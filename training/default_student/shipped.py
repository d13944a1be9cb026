"""What the shipped bundle was made by, in the words of its manifest and in those of today.

The manifest's digest was taken over the bytes of the code in the places it had then. The code was
moved since, and the digest is one of what the code does. The syntax of every file, imports and
docstrings left out, was compared before and after: the same, but for `digest` itself and the name
of drawn slides, which came to the phantom. The next bundle states the digest of today by itself.
"""

from __future__ import annotations

MANIFEST = "sha256:fdb10ef628765828b8530d34b4574240e22c932f5ad863ee15f3861f096b8bc5"
CODE_AND_DATA = "sha256:065e5f99b7c592b13d4946c75a9ef0257db26c690bb9598d72026c17d4ffae79"
