"""The database of the ledger: SQLite in one file, or PostgreSQL when machines share the work."""
