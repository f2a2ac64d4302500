"""What administrators made, in memory: the twin of the SQL store's part, for tests."""

from collections.abc import Callable

from proxy.core.registry.ports import AlreadyExistsError, TooManyError
from proxy.core.registry.records import RuleRecord, SecretRecord, TemplateRecord


class MemoryAdministration:
    """The ports for rules, templates, secrets and documents over dictionaries."""

    def __init__(self) -> None:
        """Start empty."""
        self._writes = 0
        self._rules: dict[str, RuleRecord] = {}
        self._rules_revision = 0
        self._templates: dict[str, TemplateRecord] = {}
        self._documents: dict[str, str] = {}
        self._secrets: dict[str, SecretRecord] = {}

    def generation(self) -> object:
        """Return a value that equals one returned before only if nothing was written in between."""
        return self._writes

    def _wrote(self) -> None:
        """Note a write. Methods run without a pause: nobody can tell at which of their lines they do."""
        self._writes += 1

    async def rules(self) -> list[RuleRecord]:
        """Return all rules, in order of key."""
        return [self._rules[key] for key in sorted(self._rules)]

    async def create_rule(self, record: RuleRecord, limit: int | None) -> None:
        """Keep a new rule."""
        self._wrote()
        if record.key in self._rules:
            raise AlreadyExistsError
        if limit is not None and len(self._rules) >= limit:
            raise TooManyError
        self._rules[record.key] = record
        self._rules_revision += 1

    async def alter_rule(self, key: str, change: Callable[[RuleRecord], RuleRecord]) -> RuleRecord | None:
        """Replace a rule by what `change` makes of it."""
        self._wrote()
        if key not in self._rules:
            return None
        self._rules[key] = change(self._rules[key])
        self._rules_revision += 1
        return self._rules[key]

    async def delete_rule(self, key: str) -> RuleRecord | None:
        """Remove a rule and return it, or None."""
        self._wrote()
        self._rules_revision += 1
        return self._rules.pop(key, None)

    async def rules_revision(self) -> int:
        """Return a number that grows with each change of rules."""
        return self._rules_revision

    def rules_generation(self) -> object:
        """Return a value that equals one returned before only if no rule was changed in between."""
        return self._rules_revision

    async def templates(self) -> list[TemplateRecord]:
        """Return all templates, in order of key."""
        return [self._templates[key] for key in sorted(self._templates)]

    async def create_template(self, record: TemplateRecord) -> None:
        """Keep a new template."""
        self._wrote()
        if record.key in self._templates:
            raise AlreadyExistsError
        self._templates[record.key] = record

    async def alter_template(
        self, key: str, change: Callable[[TemplateRecord], TemplateRecord]
    ) -> TemplateRecord | None:
        """Replace a template by what `change` makes of it."""
        self._wrote()
        if key not in self._templates:
            return None
        self._templates[key] = change(self._templates[key])
        return self._templates[key]

    async def delete_template(self, key: str) -> TemplateRecord | None:
        """Remove a template and return it, or None."""
        self._wrote()
        return self._templates.pop(key, None)

    async def document(self, name: str) -> str | None:
        """Return the text, or None."""
        return self._documents.get(name)

    async def alter_document(self, name: str, change: Callable[[str | None], str | None]) -> str | None:
        """Replace a text by what `change` makes of it, and return what it was before."""
        self._wrote()
        before = self._documents.get(name)
        after = change(before)
        if after is None:
            self._documents.pop(name, None)
        else:
            self._documents[name] = after
        return before

    async def secret(self, name: str) -> SecretRecord | None:
        """Return the secret, or None."""
        return self._secrets.get(name)

    async def secrets(self, after: str, limit: int) -> list[SecretRecord]:
        """Return up to `limit` secrets whose names are greater than `after`, in order of name."""
        return [self._secrets[name] for name in sorted(self._secrets) if name > after][:limit]

    async def alter_secret(
        self, name: str, change: Callable[[SecretRecord | None], SecretRecord | None]
    ) -> SecretRecord | None:
        """Replace a secret by what `change` makes of it, and return that."""
        self._wrote()
        after = change(self._secrets.get(name))
        if after is None:
            self._secrets.pop(name, None)
        else:
            self._secrets[name] = after
        return after
