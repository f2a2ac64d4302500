"""Which manifests no tag points to: so that a page of them is found without visiting those that have tags."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TAGGED = """
UPDATE manifests SET untagged = 0 WHERE EXISTS (
    SELECT 1 FROM provenances JOIN tags ON tags.repository_id = provenances.repository_id
    WHERE provenances.id = manifests.provenance_id AND tags.digest = manifests.digest
)
"""


def upgrade() -> None:
    """Add the column in place, however many manifests there are, and say of each what the tags say."""
    op.add_column("manifests", sa.Column("untagged", sa.Boolean, nullable=False, server_default="1"))
    op.execute(_TAGGED)
    op.create_index(
        "ix_manifests_untagged", "manifests", ["provenance_id", "digest"], sqlite_where=sa.text("untagged = 1")
    )
