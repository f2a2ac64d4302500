"""The tables of the metadata, as the newest migration leaves them.

A *provenance* row says: this repository got content from this source through this account. Manifests, descriptors
and proofs hang on it, so content that came to one repository from two sources stays provable by both, and "what may
this request see" is a handful of provenance rows found by index, whatever the number of manifests and blobs.

Digests are text as on the wire. Text is compared by bytes (SQLite's BINARY collation). Times are seconds since the
epoch.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

REVISION: Final = "0005"
"""The newest migration: what a database must have gone through to have these tables."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

POLICED: Final = text("json_extract(details, '$.policy') IS NOT NULL")
"""Repositories that have a policy of their own; word by word as their index has it, or it is not used."""

repositories = Table(
    "repositories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    # Both are NULL where the configuration says which tags may move.
    Column("tag_mutability", Text),
    Column("tag_filters", JSON(none_as_null=True)),
    Column("details", Text),  # what administrators said of it; NULL for nothing
    UniqueConstraint("name"),
    Index("ix_repositories_policed", "name", sqlite_where=POLICED),
)

provenances = Table(
    "provenances",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
    Column("source", Text, nullable=False),
    Column("account", Text, nullable=False),
    UniqueConstraint("repository_id", "source", "account"),
    Index(None, "source", "account"),
)

tags = Table(
    "tags",
    metadata,
    Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("fetched_at", Float, nullable=False),
    Column("checked_at", Float, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("failed_at", Float, nullable=False),
    Column("missing_since", Float, nullable=False),
    Index(None, "repository_id", "source", "name"),  # the list of one source's tags
    Index(None, "repository_id", "digest"),  # the tags that go with a manifest
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    metadata,
    Column("provenance_id", ForeignKey("provenances.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("artifact_type", Text),
    Column("subject", Text),
    Column("annotations", JSON, nullable=False),
    Column("pushed_at", Float, nullable=False),
    Column("pulled_at", Float),
    Column("untagged", Boolean, nullable=False, server_default="1"),  # what the tags say, for the index below
    # The referrers of a subject; most manifests have none, and are not in this index. The table has row ids because
    # SQLite would else think its primary key the shorter way, and visit all manifests of a provenance.
    Index(None, "provenance_id", "subject", "digest", sqlite_where=text("subject IS NOT NULL")),
    # A page of those without tags, however many there are that have some.
    Index("ix_manifests_untagged", "provenance_id", "digest", sqlite_where=text("untagged = 1")),
)

descriptors = Table(
    "descriptors",
    metadata,
    Column("provenance_id", Integer, primary_key=True),
    Column("digest", Text, primary_key=True),  # of what is described: descriptors are looked up from below
    Column("manifest", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("artifact_type", Text),
    Column("annotations", JSON, nullable=False),
    Column("urls", JSON, nullable=False),
    ForeignKeyConstraint(
        ["provenance_id", "manifest"], ["manifests.provenance_id", "manifests.digest"], ondelete="CASCADE"
    ),
    Index(None, "provenance_id", "manifest"),
    sqlite_with_rowid=False,
)

proofs = Table(
    "proofs",
    metadata,
    Column("provenance_id", ForeignKey("provenances.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Text, primary_key=True),
    Index(None, "digest"),  # who holds a blob
    sqlite_with_rowid=False,
)

# By name and not by id: a list is also kept for a repository of which nothing has been pulled.
listings = Table(
    "listings",
    metadata,
    Column("repository", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("checked_at", Float, nullable=False),
    Column("failed_at", Float, nullable=False),
)

# What administrators made, one document each: it is read and written whole, and looked up by its key only.
rules = Table("rules", metadata, Column("key", Text, primary_key=True), Column("record", Text, nullable=False))
templates = Table("templates", metadata, Column("key", Text, primary_key=True), Column("record", Text, nullable=False))
secrets = Table("secrets", metadata, Column("key", Text, primary_key=True), Column("record", Text, nullable=False))
documents = Table("documents", metadata, Column("key", Text, primary_key=True), Column("record", Text, nullable=False))

# By how much what every process keeps in memory has changed.
revisions = Table(
    "revisions", metadata, Column("name", Text, primary_key=True), Column("number", Integer, nullable=False)
)
