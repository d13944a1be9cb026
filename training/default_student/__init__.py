"""The shipped student: a distilled tile encoder that maps tissue and tumor."""
