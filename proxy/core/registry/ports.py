"""The ports of the registry's administration: what it asks of the metadata store.

Each method is one transaction over all processes of the store; what it wrote survives power loss when it returns. A
`change` is a pure function: it may run more than once, and what it raises ends the transaction with nothing written.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from proxy.core.ports import MetadataStore, RepositoryRecord
from proxy.core.registry.records import ImageRecord, PullNote, RuleRecord, SecretRecord, TemplateRecord
from proxy.model.digest import Digest
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName, Tag


class AlreadyExistsError(Exception):
    """Nothing was written: there is one of this name."""


class TooManyError(Exception):
    """Nothing was written: there are as many as there may be."""


class NotEmptyError(Exception):
    """Nothing was removed: the repository holds images."""


class RuleRecords(Protocol):
    """Cache rules that the API made, by their `RuleRecord.key`."""

    async def rules(self) -> list[RuleRecord]:
        """Return all, in order of key."""

    async def create_rule(self, record: RuleRecord, limit: int | None) -> None:
        """Keep a new rule. Raises `AlreadyExistsError`, or `TooManyError` where `limit` rules exist."""

    async def alter_rule(self, key: str, change: Callable[[RuleRecord], RuleRecord]) -> RuleRecord | None:
        """Replace a rule by what `change` makes of it, and return that; None where there is no such rule."""

    async def delete_rule(self, key: str) -> RuleRecord | None:
        """Remove a rule and return it, or None."""

    async def rules_revision(self) -> int:
        """Return a number that grows with each change of rules by any process. Cheap: asked many times a second."""

    def rules_generation(self) -> object:
        """Return a value that equals one returned before only if no process has changed rules in between.

        Otherwise as `Changes.generation`. It may be another although no rule was changed, until `rules_revision` is
        asked.
        """


class RepositoryRecords(Protocol):
    """Repositories as administrators see them, beside the `Repositories` port."""

    async def repository_records(
        self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES
    ) -> list[RepositoryRecord]:
        """Return up to `limit` repositories whose names are greater than `after`, in order of name.

        Of those in `spans`, as `Catalog.repositories` does.
        """

    async def records_of(self, names: Sequence[RepositoryName]) -> list[RepositoryRecord]:
        """Return those of some repositories that there are, in any order."""

    async def policed_repositories(self, after: str, limit: int) -> list[RepositoryRecord]:
        """Return up to `limit` repositories with a policy of their own and names greater than `after`, in order.

        Those without one cost nothing.
        """

    async def alter_repository(
        self, name: RepositoryName, change: Callable[[RepositoryRecord], RepositoryRecord]
    ) -> RepositoryRecord | None:
        """Replace tag policy and details by what `change` makes of them; None where there is no such repository."""

    async def remove_repository(self, name: RepositoryName, *, force: bool) -> RepositoryRecord | None:
        """Remove a repository with all that hangs on it and return it, or None.

        Raises `NotEmptyError` where it holds images and `force` is not given.
        """


class Images(Protocol):
    """Manifests as images, whatever provenance they have."""

    async def images(
        self, repository: RepositoryName, after: str, limit: int, *, tagged: bool | None = None
    ) -> list[ImageRecord]:
        """Return up to `limit` images whose digests, as text, are greater than `after`, in order of digest.

        With `tagged`, only those that have tags, or have none.
        """

    async def images_named(
        self, repository: RepositoryName, digests: Sequence[Digest], tags: Sequence[Tag]
    ) -> list[ImageRecord]:
        """Return the images that have one of `digests` or `tags`, in order of digest; others are left out."""

    async def parents(self, repository: RepositoryName, digests: Iterable[Digest]) -> dict[Digest, set[Digest]]:
        """Return which manifests kept in the repository name each of `digests` among their children.

        What none of them names is left out.
        """

    async def remove_tag(self, repository: RepositoryName, tag: Tag, digest: Digest | None) -> Digest | None:
        """Remove a tag, only if it is on `digest` (None: whichever), and its manifest if that was its last tag.

        Return the digest that it was on, or None where nothing was removed. A manifest that another one names among
        its children stays.
        """

    async def remove_images(self, repository: RepositoryName, digests: Sequence[Digest]) -> list[Digest]:
        """Remove manifests with all their tags; return those that were there and are not named by a remaining one.

        A manifest that a remaining one of the repository names among its children stays.
        """

    async def remove_unchanged(self, repository: RepositoryName, images: Sequence[ImageRecord]) -> list[Digest]:
        """Remove, as `remove_images` does, those of `images` whose tags and last pull are still as the records say."""

    async def note_pulls(self, notes: Sequence[PullNote]) -> None:
        """Keep when images were last pulled."""


class Templates(Protocol):
    """Repository creation templates, by their `TemplateRecord.key`."""

    async def templates(self) -> list[TemplateRecord]:
        """Return all, in order of key."""

    async def create_template(self, record: TemplateRecord) -> None:
        """Keep a new template. Raises `AlreadyExistsError`."""

    async def alter_template(
        self, key: str, change: Callable[[TemplateRecord], TemplateRecord]
    ) -> TemplateRecord | None:
        """Replace a template by what `change` makes of it, and return that; None where there is none."""

    async def delete_template(self, key: str) -> TemplateRecord | None:
        """Remove a template and return it, or None."""


class Documents(Protocol):
    """Texts of the whole registry, by name: its policy, its settings, previews of lifecycle policies."""

    async def document(self, name: str) -> str | None:
        """Return the text, or None."""

    async def alter_document(self, name: str, change: Callable[[str | None], str | None]) -> str | None:
        """Replace a text by what `change` makes of it (None: there is none), and return what it was before."""


class SecretRecords(Protocol):
    """Secrets of the built-in store, by name."""

    async def secret(self, name: str) -> SecretRecord | None:
        """Return the secret, or None."""

    async def secrets(self, after: str, limit: int) -> list[SecretRecord]:
        """Return up to `limit` secrets whose names are greater than `after`, in order of name."""

    async def alter_secret(
        self, name: str, change: Callable[[SecretRecord | None], SecretRecord | None]
    ) -> SecretRecord | None:
        """Replace a secret by what `change` makes of it (None: there is none), and return that."""


class RegistryStore(
    MetadataStore, RuleRecords, RepositoryRecords, Images, Templates, Documents, SecretRecords, Protocol
):
    """All metadata ports, as one store implements them."""
