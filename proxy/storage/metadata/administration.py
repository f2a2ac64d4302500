"""The ports for rules, templates, secrets and documents, in SQL."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.registry.records import RuleRecord, SecretRecord, TemplateRecord
from proxy.storage.metadata.keyed import Keyed
from proxy.storage.metadata.provenances import OnDatabase
from proxy.storage.metadata.schema import documents, revisions, rules, secrets, templates

_RULES = Keyed(rules, RuleRecord)
_TEMPLATES = Keyed(templates, TemplateRecord)
_SECRETS = Keyed(secrets, SecretRecord)
_DOCUMENTS = Keyed(documents, str)
_RULES_REVISION = select(revisions.c.number).where(revisions.c.name == "rules")


class SqlAdministration(OnDatabase):
    """What administrators made, beside repositories."""

    async def rules(self) -> list[RuleRecord]:
        """Return all rules, in order of key."""
        return await self._database.read("rules.all", _RULES.page)

    async def create_rule(self, record: RuleRecord, limit: int | None) -> None:
        """Keep a new rule."""

        def work(connection: Connection) -> None:
            _RULES.create(connection, record.key, record, limit)
            _count(connection, "rules")

        await self._database.write("rules.create", work)

    async def alter_rule(self, key: str, change: Callable[[RuleRecord], RuleRecord]) -> RuleRecord | None:
        """Replace a rule by what `change` makes of it."""

        def work(connection: Connection) -> RuleRecord | None:
            _count(connection, "rules")
            return _RULES.alter(connection, key, change)

        return await self._database.write("rules.alter", work)

    async def delete_rule(self, key: str) -> RuleRecord | None:
        """Remove a rule and return it, or None."""

        def work(connection: Connection) -> RuleRecord | None:
            _count(connection, "rules")
            return _RULES.delete(connection, key)

        return await self._database.write("rules.delete", work)

    async def rules_revision(self) -> int:
        """Return a number that grows with each change of rules."""
        watch = self._database.revisions
        start = watch.start()
        number, page = await self._database.look_up(
            "rules.revision", lambda c: (c.scalar(_RULES_REVISION) or 0, watch.query(c))
        )
        watch.learn(start, page)
        return number

    def rules_generation(self) -> object:
        """Return a value that equals one returned before only if no process has changed rules in between."""
        return self._database.revisions.generation()

    async def templates(self) -> list[TemplateRecord]:
        """Return all templates, in order of key."""
        return await self._database.read("templates.all", _TEMPLATES.page)

    async def create_template(self, record: TemplateRecord) -> None:
        """Keep a new template."""
        await self._database.write("templates.create", lambda c: _TEMPLATES.create(c, record.key, record))

    async def alter_template(
        self, key: str, change: Callable[[TemplateRecord], TemplateRecord]
    ) -> TemplateRecord | None:
        """Replace a template by what `change` makes of it."""
        return await self._database.write("templates.alter", lambda c: _TEMPLATES.alter(c, key, change))

    async def delete_template(self, key: str) -> TemplateRecord | None:
        """Remove a template and return it, or None."""
        return await self._database.write("templates.delete", lambda c: _TEMPLATES.delete(c, key))

    async def document(self, name: str) -> str | None:
        """Return the text, or None."""
        return await self._database.read("documents.get", lambda c: _DOCUMENTS.get(c, name))

    async def alter_document(self, name: str, change: Callable[[str | None], str | None]) -> str | None:
        """Replace a text by what `change` makes of it, and return what it was before."""

        def work(connection: Connection) -> str | None:
            before = _DOCUMENTS.get(connection, name)
            _DOCUMENTS.set(connection, name, change(before))
            return before

        return await self._database.write("documents.alter", work)

    async def secret(self, name: str) -> SecretRecord | None:
        """Return the secret, or None."""
        return await self._database.read("secrets.get", lambda c: _SECRETS.get(c, name))

    async def secrets(self, after: str, limit: int) -> list[SecretRecord]:
        """Return up to `limit` secrets whose names are greater than `after`, in order of name."""
        return await self._database.read("secrets.page", lambda c: _SECRETS.page(c, after, limit))

    async def alter_secret(
        self, name: str, change: Callable[[SecretRecord | None], SecretRecord | None]
    ) -> SecretRecord | None:
        """Replace a secret by what `change` makes of it, and return that."""

        def work(connection: Connection) -> SecretRecord | None:
            after = change(_SECRETS.get(connection, name))
            _SECRETS.set(connection, name, after)
            return after

        return await self._database.write("secrets.alter", work)


def _count(connection: Connection, name: str) -> None:
    statement = insert(revisions).values(name=name, number=1)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"number": revisions.c.number + 1})
    )
