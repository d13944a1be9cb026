"""What a student bundle says of itself: `manifest.json`, versions 2 and 1."""
