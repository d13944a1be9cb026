"""Objects that take others back."""
