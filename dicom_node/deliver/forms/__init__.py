"""Forms that a result can have for a destination: which stands for which."""
