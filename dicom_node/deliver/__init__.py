"""Results on their way: what each destination gets, a lane for each, retries."""
