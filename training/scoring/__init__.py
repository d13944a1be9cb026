"""The figures of runs: metrics, intervals, comparisons, and the rows they stand in."""
