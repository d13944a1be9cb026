"""Commands that remove, or keep from being removed."""
