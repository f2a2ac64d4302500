"""What the configuration lets principals do: the grants of ``auth.policies``."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Final, Self

from cachetools import LRUCache

from proxy.config.auth import EVERYWHERE, AuthSettings, GrantSettings
from proxy.model.access import Action
from proxy.model.name_spans import NameSpan, join_spans, span_of_name, span_of_prefix
from proxy.model.patterns import NamePattern, fits_literals
from proxy.model.principal import ANONYMOUS, EVERYONE, Principal, source_of
from proxy.model.reference import RepositoryName
from proxy.model.rule import ROOT, CacheRule

_DECISIONS: Final = 50_000
"""Decisions that are remembered. Names come from clients, so there may be any number of them."""

_CALLERS: Final = 10_000

_WILD: Final = frozenset("*?$")
"""What means something in patterns: stars here, and what policies of IAM have beside them."""


def is_private(rule: CacheRule | None) -> bool:
    """Tell whether a rule shows its upstream who asks: what comes by it is not for everyone to see."""
    return rule is not None and (rule.credentials is not None or rule.client_cert is not None)


def names_rule(pattern: str, prefix: str) -> bool:
    """Tell whether a pattern of repositories names a rule's prefix, and not only happens to fit what is below it."""
    segments = pattern.split("/")
    named = list(takewhile(_WILD.isdisjoint, segments))
    if prefix == ROOT:
        # No segment is the rule's own: whatever is named by its first one is below it.
        return bool(named)
    own = prefix.split("/")
    return named[: len(own)] == own


class PrincipalPattern:
    """A pattern that principals fit or do not: ``*`` stands for any part.

    Nobody but everyone fits ``anonymous``. Otherwise only who is known fits: all of them fit ``*``; a pattern without a
    colon means plain names, so that ``*-bot`` is not what a token or a certificate says of itself.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.everyone = text == EVERYONE
        self._all = set(text) == {"*"}
        self._plain = ":" not in text
        self._literals = tuple(text.split("*"))

    def fits(self, principal: Principal) -> bool:
        """Tell whether a principal fits."""
        if self.everyone or self._all or principal == ANONYMOUS:
            return self.everyone or principal != ANONYMOUS
        return not (self._plain and source_of(principal)) and fits_literals(self._literals, principal)


class RepositoryPattern:
    """A pattern of repositories in a grant; ``**`` is all of them, and the registry as a whole."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.whole = text == EVERYWHERE
        self._pattern = NamePattern(text)

    @property
    def span(self) -> NameSpan | None:
        """Return a span of names outside of which none fits: it is as narrow as what stands before the first star."""
        literal, star, _ = self.text.partition("*")
        return span_of_prefix(literal) if star else span_of_name(literal)

    def fits(self, repository: RepositoryName | None) -> bool:
        """Tell whether a repository, or (None) the registry as a whole, fits."""
        return self.whole or (repository is not None and self._pattern.fits(repository))


@dataclass(frozen=True, slots=True)
class _Reach:
    """The repositories in which a grant lets somebody do something: since `everyone` may, or by name."""

    repositories: tuple[RepositoryPattern, ...]
    everyone: bool

    def has(self, repository: RepositoryName | None, private: str | None) -> bool:
        # What everyone has does not reach behind credentials unless it says so, for those who are known neither.
        behind = private if self.everyone else None
        return any(
            pattern.fits(repository) and (behind is None or names_rule(pattern.text, behind))
            for pattern in self.repositories
        )


@dataclass(frozen=True, slots=True)
class _Grant:
    principals: tuple[PrincipalPattern, ...]
    actions: frozenset[Action]
    repositories: tuple[RepositoryPattern, ...]

    @classmethod
    def of(cls, settings: GrantSettings) -> Self:
        return cls(
            tuple(map(PrincipalPattern, settings.principals)),
            frozenset(settings.actions),
            tuple(map(RepositoryPattern, settings.repositories)),
        )

    def reach(self, principal: Principal, action: Action) -> _Reach | None:
        fitting = [pattern for pattern in self.principals if pattern.fits(principal)]
        if action not in self.actions or not fitting:
            return None
        return _Reach(self.repositories, all(pattern.everyone for pattern in fitting))


class Grants:
    """The grants of one configuration, ready to decide. A decision costs microseconds: it is made once."""

    def __init__(self, settings: Iterable[GrantSettings]) -> None:
        self._grants = tuple(map(_Grant.of, settings))
        self._decided: LRUCache[tuple[Principal, Action, RepositoryName | None, str | None], bool]
        self._decided = LRUCache(_DECISIONS)
        # Lists ask for one caller and many names.
        self._reaches: LRUCache[tuple[Principal, Action], tuple[_Reach, ...]] = LRUCache(_CALLERS)

    @classmethod
    def of(cls, settings: AuthSettings) -> Self:
        """Return the grants of a configuration, or what holds without any."""
        return cls(settings.grants)

    def allows(
        self, principal: Principal, action: Action, repository: RepositoryName | None, rule: CacheRule | None = None
    ) -> bool:
        """Tell whether a grant lets the principal do that with a repository, or (None) with the registry as a whole.

        `repository` is canonical; `rule` is that of a cache repository. Where it has credentials, grants for
        ``anonymous`` count only if they name the rule's prefix.
        """
        private = rule.prefix if rule is not None and is_private(rule) else None
        key = principal, action, repository, private
        decided = self._decided.get(key)
        if decided is None:
            decided = any(reach.has(repository, private) for reach in self._reach(principal, action))
            self._decided[key] = decided
        return decided

    def spans(self, principal: Principal, action: Action) -> tuple[NameSpan, ...]:
        """Return spans of names, in order, outside of which no grant lets the principal do that."""
        reaches = self._reach(principal, action)
        return join_spans(pattern.span for reach in reaches for pattern in reach.repositories)

    def _reach(self, principal: Principal, action: Action) -> tuple[_Reach, ...]:
        found = self._reaches.get((principal, action))
        if found is None:
            reaches = (grant.reach(principal, action) for grant in self._grants)
            found = self._reaches[principal, action] = tuple(reach for reach in reaches if reach is not None)
        return found


class GrantBook:
    """The grants in force. A reload replaces them at once, with all that was decided by them."""

    def __init__(self, grants: Grants) -> None:
        self.current = grants

    def replace(self, grants: Grants) -> None:
        """Put other grants in force."""
        self.current = grants
