"""What a number of a student is worth: its interval; which class stands out."""
