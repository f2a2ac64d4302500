"""What a policy document of ECR says about a request, as IAM evaluates policies of resources.

Nothing is decided for the request by what cannot be told here: a Deny counts then, an Allow does not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from proxy.core.access.grants import names_rule
from proxy.core.access.iam.conditions import Context, holds
from proxy.core.access.iam.wildcards import IndeterminateError, like, plain
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.policy_documents import Effect, PolicyDocument, Statement
from proxy.model.principal import ANONYMOUS, Principal

_WITH_VARIABLES: Final = "2012-10-17"
_REPOSITORIES: Final = "repository/"
_BEFORE_NAME: Final = 5
"""Colons of an ARN before what it names."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as IAM sees it.

    `identity` is the registry that it is made to, `operation` such as ``ecr:BatchGetImage``, `resource` the ARN of what
    it is about. `private` is the prefix of the rule with credentials that the repository is below, if it is: what is
    allowed to everyone must name it.
    """

    principal: Principal
    identity: RegistryIdentity
    operation: str
    resource: str
    context: Context = field(default_factory=Context)
    private: str | None = None

    @property
    def anonymous(self) -> bool:
        """Tell whether nobody knows who makes it."""
        return self.principal == ANONYMOUS

    @property
    def arn(self) -> str:
        """Return the principal's ARN; nobody has one where the request is anonymous."""
        return self.identity.user_arn(self.principal)


def evaluate(document: PolicyDocument, request: Request) -> Effect | None:
    """Return what the document says of the request: DENY where any statement does, None where it says nothing."""
    found = None
    variables = document.version == _WITH_VARIABLES
    for statement in document.statements:
        if statement.effect is Effect.ALLOW and found is None:
            found = Effect.ALLOW if _is_allowed(statement, request, variables=variables) else None
        elif statement.effect is Effect.DENY and _is_denied(statement, request, variables=variables):
            return Effect.DENY
    return found


def allowing(document: PolicyDocument, request: Request) -> Iterator[Statement]:
    """Yield the statements that allow the operation to the principal, be it elsewhere, or on conditions."""
    for statement in document.statements:
        if statement.effect is Effect.ALLOW and _is_for(statement, request):
            yield statement


def _is_for(statement: Statement, request: Request) -> bool:
    """Tell whether an Allow is for the principal and the operation."""
    if not _concerns(statement, request):
        return False
    named = statement.principals.get("AWS", ())
    if "Principal" in statement.inverted:
        # All but those named: that was hardly meant to be everyone in the world.
        return not (request.anonymous or "*" in named or _is_named(named, request))
    return "*" in named or (not request.anonymous and _is_named(named, request))


def _is_allowed(statement: Statement, request: Request, *, variables: bool) -> bool:
    if not _is_for(statement, request):
        return False
    named = statement.principals.get("AWS", ())
    known = "Principal" in statement.inverted or (not request.anonymous and _is_named(named, request))
    private = request.private if not known else None
    try:
        return _fits_resource(statement, request, private, variables=variables) and all(
            holds(condition, request.context, variables=variables) for condition in statement.conditions
        )
    except IndeterminateError:
        return False


def _is_denied(statement: Statement, request: Request, *, variables: bool) -> bool:
    if not _concerns(statement, request):
        return False
    named = statement.principals.get("AWS", ())
    everyone = "*" in named
    if "Principal" in statement.inverted:
        # That the account is named frees none of its users: they are named one by one.
        fits = not everyone and (request.anonymous or request.arn not in named)
    else:
        fits = everyone or (not request.anonymous and _is_named(named, request))
    if not fits:
        return False
    checks: list[Callable[[], bool]] = [partial(_fits_resource, statement, request, None, variables=variables)]
    checks += [partial(holds, condition, request.context, variables=variables) for condition in statement.conditions]
    return not any(map(_surely_not, checks))


def _surely_not(check: Callable[[], bool]) -> bool:
    try:
        return not check()
    except IndeterminateError:
        return False


def _is_named(named: Iterable[str], request: Request) -> bool:
    """Tell whether one of these is somebody who is known: by name, or as one of the account."""
    names = {request.arn, request.identity.account, request.identity.root_arn}
    return any(one in names for one in named)


def _concerns(statement: Statement, request: Request) -> bool:
    operation = request.operation.lower()
    fits = any(like(plain(action.lower()), operation) for action in statement.actions)
    return fits != ("Action" in statement.inverted)


def _fits_resource(statement: Statement, request: Request, private: str | None, *, variables: bool) -> bool:
    """Tell whether the resource is meant, if it matters by a pattern that names the rule `private`."""
    if not statement.resources:
        return True  # the policy is attached to it
    inverted = "Resource" in statement.inverted
    if private is not None and inverted:
        return False
    indeterminate = False
    for pattern in statement.resources:
        if private is not None and not _names(pattern, private):
            continue
        try:
            if like(request.context.fill(pattern, variables=variables), request.resource):
                return not inverted
        except IndeterminateError:
            indeterminate = True
    if indeterminate:
        raise IndeterminateError
    return inverted


def _names(pattern: str, prefix: str) -> bool:
    name = pattern.split(":", _BEFORE_NAME)[-1]
    return name.startswith(_REPOSITORIES) and names_rule(name.removeprefix(_REPOSITORIES), prefix)
