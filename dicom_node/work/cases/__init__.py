"""Cases: what a student says of all slides of a study together, and what is written of it."""
