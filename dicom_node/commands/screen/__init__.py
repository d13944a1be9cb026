"""What commands show to people at a terminal."""
