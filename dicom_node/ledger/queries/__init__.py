"""What the ledger is asked: of studies, of results, and of what happened."""
