"""What is counted on classes of tissue, in sentences: the composition, and what is beside it."""
