"""What makes a study complete, and when it closes."""
