"""What a slide says of itself, cross-examined before a tile is cut: one function a rule."""
