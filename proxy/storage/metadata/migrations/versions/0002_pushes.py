"""When repositories were made, their own tag policies, and who holds a blob."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; nothing tells when the repositories that exist were made, so they begin now."""
    with op.batch_alter_table("repositories") as table:
        table.add_column(sa.Column("created_at", sa.Float, nullable=False, server_default=str(time.time())))
        table.add_column(sa.Column("tag_mutability", sa.Text))
        table.add_column(sa.Column("tag_filters", sa.JSON))
    with op.batch_alter_table("repositories") as table:
        table.alter_column("created_at", server_default=None)
    op.create_index("ix_proofs_digest", "proofs", ["digest"])
