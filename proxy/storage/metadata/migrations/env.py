"""Run the migrations on the connection, and in the transaction, that `proxy.storage.metadata.migrate` opened.

A revision is written by hand in ``versions``, as the number after the last; a test compares what all of them make
with ``schema.py``. A revision must not import ``schema.py``: it describes the past, which does not change.
"""

from alembic import context

from proxy.storage.metadata.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters little in place; batches rebuild the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
