"""Who has connected and not asked for an association yet, and how they get in or out."""
