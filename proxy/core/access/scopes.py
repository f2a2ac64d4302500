"""Scopes: what clients ask tokens for, and what of it they are given (distribution's token authentication).

``repository:team/app:pull,push`` asks for two actions on one repository. Whatever is not understood grants nothing, and
nothing is a fault: a client is given less than it asked for, and told so by the registry itself once that matters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from proxy.core.access.authorizer import Authorizer, Wanted
from proxy.core.access.caller import Caller, Scopes
from proxy.core.rules import Address, RuleSet
from proxy.model.access import Action
from proxy.model.errors import ProxyError
from proxy.model.reference import RepositoryName, parse_repository

CATALOG: Final = RepositoryName("registry:catalog")
"""What stands for the catalog where scopes name repositories; no repository has such a name."""

CATALOG_SCOPE: Final = "registry:catalog:*"
"""The scope that a token must have for the catalog."""

# A client that mounts layers asks for a handful of repositories. With these bounds a token fits into a header field.
_MOST: Final = 16
_LONGEST: Final = 8 << 10

_ACTIONS: Final[Mapping[str, frozenset[Action]]] = {
    "pull": frozenset({Action.PULL, Action.FIRST_PULL}),
    "push": frozenset({Action.PUSH}),
    "delete": frozenset({Action.DELETE}),
    "*": frozenset({Action.PULL, Action.FIRST_PULL, Action.PUSH, Action.DELETE}),
}
_WORDS: Final[Mapping[Action, str]] = {
    Action.PULL: "pull",
    Action.FIRST_PULL: "pull",
    # Who pushes looks at what is there already.
    Action.PUSH: "pull,push",
    Action.DELETE: "delete",
}
# A type may carry a class: repository(plugin).
_REPOSITORY: Final = re.compile(r"repository(?:\([a-z0-9]+\))?")


def parse_scopes(parameters: Iterable[str], host: str = "") -> Scopes:
    """Return which actions the values of ``scope`` ask for, by repository as the client spells it, or `CATALOG`.

    A value may hold several scopes, separated by spaces. `host` is what a name may begin with, as this registry's own
    ``host[:port]``. Of too many scopes the first count.
    """
    asked: dict[RepositoryName, frozenset[Action]] = {}
    for scope in " ".join(parameters)[:_LONGEST].split(" "):
        # A host in the name may have a port, so the name is what stands between the first colon and the last.
        kind, _, rest = scope.partition(":")
        spelled, _, words = rest.rpartition(":")
        name = _name(kind, spelled, words, host)
        actions = frozenset().union(*(_ACTIONS.get(word, frozenset()) for word in words.split(",")))
        if name is not None and actions and (name in asked or len(asked) < _MOST):
            asked[name] = asked.get(name, frozenset()) | actions
    return asked


def spell_scope(name: str, action: Action) -> str:
    """Return the scope that a token must have for `action` on a repository."""
    return f"repository:{name}:{_WORDS[action]}"


async def grant_scopes(
    asked: Scopes,
    caller: Caller,
    rules: RuleSet,
    mirror: str | None,
    authorizer: Authorizer,
    operations: Mapping[Action, Sequence[str]],
) -> Scopes:
    """Return what of `asked` the caller may do now, by canonical repository.

    Names are those of the address `mirror` (the prefix of its rule; None for the registry's own). An action is granted
    where at least one of its `operations` is permitted: each request is decided on again.
    """
    granted: dict[RepositoryName, frozenset[Action]] = {}
    for name, actions in asked.items():
        if name == CATALOG:
            # The list has only what its reader may pull.
            granted[CATALOG] = actions
            continue
        try:
            found = rules.locate(Address(name, mirror=mirror))
        except ProxyError:
            continue
        rule = found.remote.rule if found.remote is not None else None
        permitted = {
            action
            for action in actions
            for operation in operations[action]
            if await authorizer.permits(caller, Wanted(action, operation, found.repository, rule))
        }
        if permitted:
            granted[found.repository] = granted.get(found.repository, frozenset()) | permitted
    return granted


def _name(kind: str, spelled: str, words: str, host: str) -> RepositoryName | None:
    if f"{kind}:{spelled}:{words}" == CATALOG_SCOPE:
        return CATALOG
    if _REPOSITORY.fullmatch(kind) is None:
        return None
    try:
        return parse_repository(spelled.removeprefix(f"{host}/") if host else spelled)
    except ProxyError:
        return None
