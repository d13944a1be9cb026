"""What a cohort is read from and checked by: tables, folds, genes, the archive."""
