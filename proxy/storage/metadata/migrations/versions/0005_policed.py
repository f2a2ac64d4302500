"""Which repositories have a policy of their own: so that they are found without visiting those that have none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index."""
    policed = sa.text("json_extract(details, '$.policy') IS NOT NULL")
    op.create_index("ix_repositories_policed", "repositories", ["name"], sqlite_where=policed)
