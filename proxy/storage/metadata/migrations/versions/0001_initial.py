"""Repositories, tags, manifests with their descriptors, proofs, listings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "repositories",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
        sa.UniqueConstraint("name", name="uq_repositories_name"),
    )
    op.create_table(
        "provenances",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("repository_id", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_provenances"),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name="fk_provenances_repositories", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("repository_id", "source", "account", name="uq_provenances_repository_id_source_account"),
    )
    op.create_index("ix_provenances_source_account", "provenances", ["source", "account"])
    op.create_table(
        "tags",
        sa.Column("repository_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("fetched_at", sa.Float, nullable=False),
        sa.Column("checked_at", sa.Float, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("failed_at", sa.Float, nullable=False),
        sa.Column("missing_since", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name="fk_tags_repositories", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_repository_id_source_name", "tags", ["repository_id", "source", "name"])
    op.create_index("ix_tags_repository_id_digest", "tags", ["repository_id", "digest"])
    op.create_table(
        "manifests",
        sa.Column("provenance_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("artifact_type", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("annotations", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("provenance_id", "digest", name="pk_manifests"),
        sa.ForeignKeyConstraint(
            ["provenance_id"], ["provenances.id"], name="fk_manifests_provenances", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_manifests_provenance_id_subject_digest",
        "manifests",
        ["provenance_id", "subject", "digest"],
        sqlite_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "descriptors",
        sa.Column("provenance_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("artifact_type", sa.Text),
        sa.Column("annotations", sa.JSON, nullable=False),
        sa.Column("urls", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("provenance_id", "digest", "manifest", name="pk_descriptors"),
        sa.ForeignKeyConstraint(
            ["provenance_id", "manifest"],
            ["manifests.provenance_id", "manifests.digest"],
            name="fk_descriptors_manifests",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_descriptors_provenance_id_manifest", "descriptors", ["provenance_id", "manifest"])
    op.create_table(
        "proofs",
        sa.Column("provenance_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("provenance_id", "digest", name="pk_proofs"),
        sa.ForeignKeyConstraint(
            ["provenance_id"], ["provenances.id"], name="fk_proofs_provenances", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "listings",
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.Column("checked_at", sa.Float, nullable=False),
        sa.Column("failed_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("repository", "key", name="pk_listings"),
    )
