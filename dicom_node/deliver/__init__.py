"""Results on their way: one lane per destination."""
