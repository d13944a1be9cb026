"""0111: whether what a destination has under our UID is what we made."""
