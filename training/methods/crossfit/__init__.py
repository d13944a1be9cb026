"""The cross-fitted student: ridge teachers on slides, distilled without leakage."""
