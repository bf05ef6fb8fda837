"""Alembic environment: runs migrations on the connection that it is given."""

from alembic import context

from ziggy_dask.records.tables import Table

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
