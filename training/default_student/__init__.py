"""The shipped student: a distilled tile encoder and attention aggregator."""
