"""The figures of runs: metrics, intervals, comparisons, and their rows."""
