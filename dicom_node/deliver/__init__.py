"""Results on their way: a lane per destination, and when a failure is retried."""
