"""Alembic's entry: the connection comes from `store.py`."""

from alembic import context

from wardgate.approvals.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
