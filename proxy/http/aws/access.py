"""Who may do what by the AWS APIs: callers are asked who they are, and held to what policies grant."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from proxy.core.access.authorizer import Authorizer, Wanted
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.tokens import BearerTokens
from proxy.core.offloading import Offloader
from proxy.core.rules import Address, RuleBook
from proxy.http.access.certificates import principal_of
from proxy.http.aws.operations import ApiCall, Given, Operation
from proxy.http.aws.signatures import Signatures, Signed
from proxy.http.trace import TRACE, Trace, introduce
from proxy.model.access import Action
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ProxyError
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName, parse_repository
from proxy.model.rule import CacheRule

REFUSALS: Final = frozenset(
    {
        ApiErrorCode.AccessDeniedException,
        ApiErrorCode.IncompleteSignatureException,
        ApiErrorCode.InvalidSignatureException,
        ApiErrorCode.MissingAuthenticationTokenException,
        ApiErrorCode.UnrecognizedClientException,
    }
)
"""The errors of who is not known, and of who may not."""

FIRST_PULL: Final = "ecr:BatchImportUpstreamImage"
"""What IAM calls the upstream being asked (as on the distribution API)."""

_EVERYTHING: Final = "*"
_ARN = re.compile(r"arn:[^:]*:ecr:[^:]*:[^:]*:repository/(?P<name>.*)", re.DOTALL)
# What a request is about, for the log: the first of these that it has.
_SUBJECTS: Final = ("repositoryName", "ecrRepositoryPrefix", "prefix", "resourceArn", "SecretId", "Name")


@dataclass(frozen=True, slots=True)
class _Place:
    """A repository that is acted on; without a name the registry as a whole."""

    repository: RepositoryName | None = None
    rule: CacheRule | None = None


@dataclass(frozen=True, slots=True)
class Guard:
    """Ask callers who they are, and hold them to what `authorizer` permits.

    `admit` raises `ProxyError` for a caller who calls too often; whoever is not known is one caller by address.
    `tickets` makes layer URLs that are good without credentials. `certified` returns whom the client certificate of a
    connection names, or None.
    """

    signatures: Signatures
    authorizer: Authorizer
    rules: RuleBook
    offloader: Offloader
    admit: Callable[[Caller], None]
    tickets: BearerTokens
    certified: Callable[[web.Request], Principal | None] = principal_of

    def examine(self, request: web.Request, service: str) -> Signed | Principal:
        """Return what a request shows of its caller, before its body is read.

        Raises `ApiError` as `Signatures.examine`; MissingAuthenticationTokenException where it shows nothing.
        """
        with self._counting(request):
            shown = self.signatures.examine(request, service) or self.certified(request)
            if not shown:
                raise ApiError(ApiErrorCode.MissingAuthenticationTokenException)
            return shown

    async def identify(self, request: web.Request, shown: Signed | Principal, body: bytes) -> Caller:
        """Return who makes the request, whose whole `body` came; raise `ApiError` unless that is shown."""
        if isinstance(shown, Signed):
            with self._counting(request):
                await self.offloader.run(len(body), shown.verify, body)
            caller = Caller(shown.key.principal, Scheme.ACCESS_KEY)
        else:
            caller = Caller(shown, Scheme.CERTIFICATE)
        caller = introduce(request, caller)
        self.count(caller)
        return caller

    async def authorize(self, call: ApiCall, name: str, operation: Operation, given: Given, trace: Trace) -> ApiCall:
        """Return the call as far as its caller may go, or raise `ApiError` AccessDeniedException.

        `name` is the operation's in policies. The refusal does not depend on what there is.
        """
        if operation.action is None:
            return call
        names = named(given)
        if operation.lists and not names:
            visible = partial(self.authorizer.visible, call.caller, operation=name)
            return replace(call, visible=visible, spans=await self.authorizer.spans(call.caller, name))
        places = [(text, place) for text in names for place in self._places(text)] or [("", _Place())]
        if len(names) == 1:
            meant = places[0][1]
            trace.repository = meant.repository
            trace.rule = meant.rule.prefix if meant.rule is not None else None
        for text, place in places:
            if not await self._permits(call, operation.action, name, place):
                raise _denied(call, name, text)
        asked = [place for _, place in places if place.rule is not None]
        fetches = [await self._permits(call, Action.FIRST_PULL, FIRST_PULL, place) for place in asked]
        return replace(call, may_fetch=all(fetches), tickets=self.tickets)

    def count(self, caller: Caller) -> None:
        """Raise `ApiError` ThrottlingException where a caller calls too often."""
        try:
            self.admit(caller)
        except ProxyError as error:
            raise ApiError(ApiErrorCode.ThrottlingException, f"Rate exceeded: {error.message}") from error

    @contextmanager
    def _counting(self, request: web.Request) -> Iterator[None]:
        """Count a request whose caller stays unknown as one of its address."""
        try:
            yield
        except ApiError:
            self.count(Caller(address=request[TRACE].client))
            raise

    async def _permits(self, call: ApiCall, action: Action, name: str, place: _Place) -> bool:
        return await self.authorizer.permits(call.caller, Wanted(action, name, place.repository, place.rule))

    def _places(self, text: str) -> list[_Place]:
        """Return every repository that an operation may act on which is told this name.

        Those on images and layers act on the one that clients reach by it, where there is one, the others on the one of
        exactly this name. A name that none can have is left to who may do it everywhere.
        """
        try:
            name = parse_repository(text)
        except ProxyError:
            return [_Place()]
        try:
            reached = self.rules.current.locate(Address(name))
        except ProxyError:
            return [_Place(), _Place(name)]
        rule = reached.remote.rule if reached.remote is not None else None
        return [_Place(each, rule) for each in dict.fromkeys((reached.repository, name))]


def named(given: Given) -> list[str]:
    """Return the names of the repositories that a request of ECR names, as it writes them."""
    names = [given["repositoryName"]] if "repositoryName" in given else []
    names += given.get("repositoryNames", [])
    if "resourceArn" in given:
        arn = _ARN.fullmatch(given["resourceArn"])
        # What is no ARN of a repository is no name of one either.
        names.append(arn["name"] if arn is not None else "")
    return names


def note(trace: Trace, name: str, operation: Operation, given: Given) -> None:
    """Tell log and audit trail what a request is about to do."""
    trace.operation, trace.action = name, operation.action
    trace.name = next((str(given[member]) for member in _SUBJECTS if member in given), None)
    trace.content = _content(given)


def _content(given: Given) -> str | None:
    """Return which images or layers a request is about."""
    images = given.get("imageIds", [given])
    found = [one.get("imageTag") or one.get("imageDigest") or one.get("layerDigest") for one in images]
    return ", ".join((*filter(None, found), *given.get("layerDigests", ()))) or None


def _denied(call: ApiCall, name: str, repository: str) -> ApiError:
    identity = call.identity
    resource = _EVERYTHING
    if name.startswith("ecr:"):
        resource = identity.arn(RepositoryName(repository or _EVERYTHING))
    user = identity.user_arn(call.principal)
    sentence = f"User: {user} is not authorized to perform: {name} on resource: {resource}"
    return ApiError(ApiErrorCode.AccessDeniedException, sentence)
