"""The shipped default student: a small tile encoder and an attention aggregator."""
