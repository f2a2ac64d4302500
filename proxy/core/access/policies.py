"""The decision by grants of the configuration, and by ECR's policies of repositories and of the registry."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cachetools import LRUCache

from proxy.core.access.authorizer import LISTED, ScopeError, Wanted
from proxy.core.access.caller import Caller
from proxy.core.access.grants import GrantBook, is_private
from proxy.core.access.iam.conditions import Context
from proxy.core.access.iam.documents import Attached, PolicyDocuments
from proxy.core.access.iam.evaluation import Request, allowing, evaluate
from proxy.core.access.iam.reach import allowed_spans
from proxy.core.ports import Clock
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.policy_documents import Effect
from proxy.core.rules import Address, RuleBook, RuleSet
from proxy.model.access import Action
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.name_spans import ALL_NAMES, NameSpan, join_spans, span_of_name
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule

_REACHED: Final = 50_000
_POLICED: Final = 500
"""Repositories with policies of their own that are looked at by name. Where there are more, all names are."""

_AT_A_TIME: Final = 64
"""Names that are decided before others have their turn: about a millisecond."""

_ECR: Final = "ecr:"
_ALL: Final = RepositoryName("*")
"""What an operation on the registry as a whole is about, in ARNs."""


class PolicyAuthorizer:
    """The `Authorizer` of a registry with `auth`.

    Somebody may do what a grant, or an Allow of a policy, permits, and no Deny of a policy forbids. With ECR's
    character nobody may do anything without credentials. What a token, or a signed URL, is limited to holds above all
    of that.
    """

    def __init__(
        self,
        grants: GrantBook,
        documents: PolicyDocuments,
        rules: RuleBook,
        identity: RegistryIdentity,
        clock: Clock,
    ) -> None:
        self._grants = grants
        self._documents = documents
        self._rules = rules
        self._identity = identity
        self._clock = clock
        # Repositories that requests name without a rule: most are hosted here.
        self._reached: LRUCache[RepositoryName, CacheRule | None] = LRUCache(_REACHED)
        self._reached_by = rules.current

    async def permits(self, caller: Caller, wanted: Wanted) -> bool:
        """Tell whether the caller may."""
        return _covers(caller, wanted) and await self._may(caller, wanted)

    async def require(self, caller: Caller, wanted: Wanted) -> None:
        """Raise `ProxyError` unless the caller may, as the port says; `ScopeError` where only the token is at fault."""
        covered = _covers(caller, wanted)
        if not covered and not caller.token:
            raise _refusal(caller, wanted)
        if not await self._may(caller, wanted):
            raise _refusal(caller, wanted)
        if not covered:
            raise ScopeError

    async def visible(
        self, caller: Caller, names: Sequence[RepositoryName], operation: str = LISTED
    ) -> list[RepositoryName]:
        """Return in which of the repositories the caller may do that, as the port says."""
        # Another process may have made the rule, with credentials, that one of them was fetched by.
        await self._rules.latest()
        found = list[RepositoryName]()
        for first in range(0, len(names), _AT_A_TIME):
            some = names[first : first + _AT_A_TIME]
            if caller.scopes is None:
                await self._documents.prepare(some)
            found += [name for name in some if await self.permits(caller, Wanted(Action.PULL, operation, name))]
            await asyncio.sleep(0)  # what was looked up before may never have waited
        return found

    async def spans(self, caller: Caller, operation: str = LISTED) -> tuple[NameSpan, ...]:
        """Return spans of names outside of which nothing is visible, as the port says."""
        if caller.anonymous and self._identity.ecr:
            return ()
        spans: list[NameSpan | None] = list(self._grants.current.spans(caller.principal, Action.PULL))
        request = self._request(caller, Wanted(Action.PULL, operation), None, None)
        registry = await self._documents.registry()
        if registry is not None:
            spans += allowed_spans(registry, request)
        if ALL_NAMES[0] in spans:
            return ALL_NAMES
        policed = await self._documents.policed(_POLICED)
        if policed is None:
            return ALL_NAMES
        for name, attached in policed.items():
            if attached.policy is not None and any(allowing(attached.policy, request)):
                spans.append(span_of_name(name))
        return join_spans(spans)

    async def _may(self, caller: Caller, wanted: Wanted) -> bool:
        """Tell whether the principal may, whatever its credentials are limited to."""
        if caller.anonymous and self._identity.ecr:
            return False
        name = wanted.repository
        rule = wanted.rule if wanted.rule is not None or name is None else self._rule(name)
        allowed = self._grants.current.allows(caller.principal, wanted.action, name, rule)
        if not wanted.operation.startswith(_ECR):
            return allowed  # what is not ECR's, its policies have no say in
        registry = await self._documents.registry()
        attached = await self._documents.repository(name) if name is not None else None
        own = attached.policy if attached is not None else None
        policies = [policy for policy in (registry, own) if policy is not None]
        if not policies:
            return allowed
        request = self._request(caller, wanted, rule, attached)
        said = {evaluate(policy, request) for policy in policies}
        return Effect.DENY not in said and (allowed or Effect.ALLOW in said)

    def _request(self, caller: Caller, wanted: Wanted, rule: CacheRule | None, attached: Attached | None) -> Request:
        identity = self._identity
        return Request(
            caller.principal,
            identity,
            wanted.operation,
            identity.arn(wanted.repository or _ALL),
            self._context(caller, attached),
            rule.prefix if rule is not None and is_private(rule) else None,
        )

    def _context(self, caller: Caller, attached: Attached | None) -> Context:
        now = self._clock.now()
        identity = self._identity
        values = {
            "aws:currenttime": datetime.fromtimestamp(now, UTC).isoformat(),
            "aws:epochtime": str(int(now)),
            "aws:principaltype": "Anonymous" if caller.anonymous else "User",
            "aws:principalisawsservice": "false",
            "aws:viaawsservice": "false",
            "aws:requestedregion": identity.region,
            "aws:resourceaccount": identity.account,
        }
        if not caller.anonymous:
            values["aws:principalarn"] = identity.user_arn(caller.principal)
            values["aws:principalaccount"] = identity.account
            values["aws:username"] = caller.principal
        unknown = set()
        for key, value in (
            ("aws:sourceip", caller.address),
            ("aws:securetransport", None if caller.secure is None else str(caller.secure).lower()),
        ):
            if value is None:
                unknown.add(key)
            else:
                values[key] = value
        for tag, value in (attached.tags if attached is not None else {}).items():
            for key in (f"aws:resourcetag/{tag.lower()}", f"ecr:resourcetag/{tag.lower()}"):
                # Keys of conditions have no case, those of tags have: of two such, neither is meant for sure.
                if key in values:
                    unknown.add(key)
                values[key] = value
        return Context(values, frozenset(unknown))

    def _rule(self, name: RepositoryName) -> CacheRule | None:
        """Return the rule by which clients reach a repository, if there is one."""
        current = self._rules.current
        if current is not self._reached_by:
            self._reached_by = current
            self._reached.clear()
        if name not in self._reached:
            self._reached[name] = _rule_of(current, name)
        return self._reached[name]


def _rule_of(rules: RuleSet, name: RepositoryName) -> CacheRule | None:
    try:
        remote = rules.locate(Address(name)).remote
    except ProxyError:  # no repository could have that name, as the rules are now
        return None
    return remote.rule if remote is not None else None


def _covers(caller: Caller, wanted: Wanted) -> bool:
    """Tell whether the caller's credentials are good for that."""
    if caller.scopes is None:
        return True
    if wanted.repository is None:
        return False
    actions = caller.scopes.get(wanted.repository, frozenset())
    # Clients ask for tokens to pull: they have no word for what that may cause.
    needed = Action.PULL if wanted.action is Action.FIRST_PULL else wanted.action
    return needed in actions


def _refusal(caller: Caller, wanted: Wanted) -> ProxyError:
    if caller.anonymous:
        return ProxyError(ErrorCode.UNAUTHORIZED)
    # The same whatever is there, and by whichever rule or policy.
    return ProxyError(
        ErrorCode.DENIED,
        f"{ErrorCode.DENIED.message}: {caller.principal} may not do this ({wanted.action.value})",
        detail={"action": wanted.action.value},
    )
