"""MKD: several teachers distilled online into a student."""
