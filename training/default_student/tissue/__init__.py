"""The tissue student: nine tissue classes and tumor, distilled from networks and expression."""
