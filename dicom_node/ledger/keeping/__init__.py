"""What may be removed, when, and why not: the rules, and the rows they are asked of."""
