"""What follows from what destinations answered: proofs, and other forms after a refusal."""
