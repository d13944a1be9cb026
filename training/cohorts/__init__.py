"""What a cohort is read from and checked by: tables, folds, gene columns, the archive's client."""
