"""Details of repositories; rules, templates, secrets, documents; when images came and were pulled."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables and columns; nothing tells when the images that exist came, so they came now."""
    with op.batch_alter_table("repositories") as table:
        table.add_column(sa.Column("details", sa.Text))
    with op.batch_alter_table("manifests") as table:
        table.add_column(sa.Column("pushed_at", sa.Float, nullable=False, server_default=str(time.time())))
        table.add_column(sa.Column("pulled_at", sa.Float))
    with op.batch_alter_table("manifests") as table:
        table.alter_column("pushed_at", server_default=None)
    for name in ("rules", "templates", "secrets", "documents"):
        op.create_table(
            name,
            sa.Column("key", sa.Text, nullable=False),
            sa.Column("record", sa.Text, nullable=False),
            sa.PrimaryKeyConstraint("key", name=f"pk_{name}"),
        )
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_revisions"),
    )
