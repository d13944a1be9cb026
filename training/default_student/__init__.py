"""The shipped default student: a distilled tile encoder and a distilled attention aggregator."""
