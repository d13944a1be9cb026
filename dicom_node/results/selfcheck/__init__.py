"""What every object has to pass before it may leave."""
