"""What coded frames say of themselves, read before and beside their codecs."""
