"""Text of a header: decoded by the character set that it states, and by no other."""
