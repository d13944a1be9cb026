"""From a run to a student bundle: export, manifest, card, precisions."""
