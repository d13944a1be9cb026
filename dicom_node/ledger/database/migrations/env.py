"""Runs the scripts on the connection that the ledger holds: its lock is taken, it commits."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
