"""The bundle of the tissue student: what each role says, its figures, manifest, card, files."""
