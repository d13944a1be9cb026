"""What the node says of itself: the log, and which threads get on."""
