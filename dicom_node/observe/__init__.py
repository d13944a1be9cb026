"""What the node says of itself: the log."""
