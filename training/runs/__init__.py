"""A run: units of work, their fitting, and the references beside every method."""
