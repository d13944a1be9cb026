"""What a cohort is built from: tables as people write them, files asked whose they are."""
