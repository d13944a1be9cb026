"""The students of a node: which there are, which are open, and which runs on which slide."""
