"""What all emulators have in common: accounts, repositories, the registry protocol."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

import trustme

from proxy.config.addresses import parse_upstream
from proxy.config.settings import UpstreamSettings
from proxy.core.ports import Clock
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from proxy.model.reference import parse_repository
from proxy.model.rule import CacheRule, Remote, UpstreamAddress
from tests.emulators.bench import Bench
from tests.emulators.content import SCHEMA1, Blob, Content, Manifest, Repository, layers_of, schema1, single
from tests.emulators.faults import Faults
from tests.emulators.journal import Exchange, Journal
from tests.emulators.messages import (
    API_VERSION,
    Call,
    Reply,
    Request,
    Route,
    document,
    failure,
    parse_call,
    redirect,
    reply,
    text,
)
from tests.emulators.storage import Storage
from tests.emulators.tokens import Account, TokenIssuer, TokenServer, WrongPasswordError
from tests.support.clock import FakeClock
from tests.support.virtual_hosts import VirtualHosts

ATTACKER = "attacker.test"
"""A host that every emulator serves and none leads to: what arrives there was led there by a fault."""

_PINGS = frozenset({"/v2", "/v2/"})
E = TypeVar("E", bound="Emulator")


class Emulator:
    """One upstream registry with its token server and its storage, on their own host names.

    Class attributes say what the kind is; `repositories`, `accounts`, `page` and the switches of each kind may be
    changed while it runs. `run` makes it reachable.
    """

    kind: ClassVar[str]
    rule_prefix: ClassVar[str]
    host: ClassVar[str]
    public_repository: ClassVar[str]
    private_repository: ClassVar[str | None]
    token_hosts: ClassVar[tuple[str, ...]] = ()
    cdn_hosts: ClassVar[tuple[str, ...]] = ()
    other_hosts: ClassVar[tuple[str, ...]] = ()
    needs_account: ClassVar[bool] = False
    has_referrers: ClassVar[bool] = False

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        self.content = content or Content()
        self.clock: Clock = clock or FakeClock()
        self.account = Account("robot", "pass:word/+=")
        self.accounts = {self.account.username: self.account.password}
        self.repositories: dict[str, Repository] = {self.public_repository: self.content.public}
        if self.private_repository is not None:
            self.repositories[self.private_repository] = self.content.private
        self.page = 1000
        self.first_page = 1000
        self.referrers_page: int | None = None
        self.faults = Faults()
        self.places: dict[str, Callable[[Request], Reply]] = {self.host: self.registry, ATTACKER: self._attacker}
        self._bench: Bench | None = None
        self._hosts: VirtualHosts | None = None

    # --- where it is and how it is used ---------------------------------------------------------------------------

    @property
    def upstream(self) -> UpstreamAddress:
        """Return the address for a rule."""
        return parse_upstream(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        named = (self.host, *self.token_hosts, *self.cdn_hosts, *self.other_hosts, ATTACKER)
        return tuple(dict.fromkeys(named))

    @property
    def journal(self) -> Journal:
        assert self._bench is not None, "it runs"
        return self._bench.journal

    @property
    def listener(self) -> VirtualHosts:
        """Return the port behind all hosts: `stop` and `resume` it, or add to its `broken_tls`."""
        assert self._hosts is not None, "it runs"
        return self._hosts

    @property
    def settings(self) -> UpstreamSettings:
        return self.settings_with()

    def settings_with(self, **changes: Any) -> UpstreamSettings:  # noqa: ANN401 - any key of the settings
        """Return settings that reach this emulator, with other keys changed."""
        return settings_of([self], **changes)

    @property
    def credentials(self) -> UserPassword:
        """Return where a rule finds the account."""
        path = self.listener.ca_file.parent / "password"
        path.write_text(self.account.password)
        return UserPassword(self.account.username, SecretSource(file=path))

    def rule(self, *, with_account: bool | None = None, **changes: Any) -> CacheRule:  # noqa: ANN401 - any field
        """Return a rule for this upstream; without a word with the account only where nothing goes without."""
        proven = self.needs_account if with_account is None else with_account
        fields = {"credentials": self.credentials if proven else None} | changes
        return CacheRule(self.rule_prefix, self.upstream, **fields)

    def remote(self, repository: str | None = None, **changes: Any) -> Remote:  # noqa: ANN401 - as for `rule`
        """Return a repository (the public one) behind `rule`."""
        return Remote(self.rule(**changes), parse_repository(repository or self.public_repository))

    def leaks(self) -> list[Exchange]:
        """Return the exchanges in which Authorization came to a host that must not see it."""
        trusted = {self.host, *self.token_hosts}
        return [each for each in self.journal.exchanges if each.authorization and each.host not in trusted]

    # --- answering ------------------------------------------------------------------------------------------------

    def route(self, request: Request) -> Route:
        """Return what a request is for, for the journal and for faults."""
        if request.host in self.cdn_hosts:
            return Route.STORAGE
        if self.is_token_request(request):
            return Route.TOKEN
        if request.path in _PINGS:
            return Route.PING
        call = parse_call(request)
        return call.route if call is not None else Route.OTHER

    def answer(self, request: Request) -> Reply:
        """Answer a request, with the faults that befall it."""
        return self.faults.answer(request, self.route(request), self._answer)

    def _answer(self, request: Request) -> Reply:
        place = self.places.get(request.host)
        return place(request) if place is not None else text(421, "there is no such host here")

    def _attacker(self, request: Request) -> Reply:
        del request
        return document({"token": "stolen", "access_token": "stolen", "expires_in": 3600})

    def is_token_request(self, request: Request) -> bool:
        del request
        return False

    def registry(self, request: Request) -> Reply:
        """Answer for the registry's own host."""
        return self._registry(request).with_headers(dict([API_VERSION]))

    def _registry(self, request: Request) -> Reply:
        refusal = self.limit(request)
        if refusal is not None:
            return refusal
        if request.path in _PINGS:
            return self.ping(request)
        call = parse_call(request)
        if call is None:
            return self.unknown_path(request)
        if request.method not in {"GET", "HEAD"}:
            return self.refused_method(call)
        return self.authorize(call) or self.limit_call(call) or self.serve(call)

    def limit(self, request: Request) -> Reply | None:
        """Refuse a request of any kind, or not."""
        del request
        return None

    def limit_call(self, call: Call) -> Reply | None:
        """Refuse an authorized call, or not."""
        del call
        return None

    def ping(self, request: Request) -> Reply:
        del request
        return document({})

    def unknown_path(self, request: Request) -> Reply:
        del request
        return text(404, "404 page not found\n")

    def refused_method(self, call: Call) -> Reply:
        del call
        return failure(405, "UNSUPPORTED", "The operation is unsupported.")

    def authorize(self, call: Call) -> Reply | None:
        """Refuse who may not pull, or not."""
        del call
        return None

    def may_pull(self, user: str | None, name: str) -> bool:
        """Tell whether a user (None: anonymous) may pull a repository; what does not exist nobody may."""
        repository = self.repositories.get(name)
        return repository is not None and repository.may_pull(user)

    def serve(self, call: Call) -> Reply:
        repository = self.repositories.get(call.name)
        if repository is None:
            return self.unknown_name(call)
        match call.route:
            case Route.MANIFEST:
                return self.manifest(call, repository)
            case Route.BLOB:
                return self.blob(call, repository)
            case Route.TAGS:
                return self.tags(call, repository)
            case _:
                return self.referrers(call, repository)

    def unknown_name(self, call: Call) -> Reply:
        return failure(404, "NAME_UNKNOWN", "repository name not known to registry", detail={"name": call.name})

    # --- manifests ------------------------------------------------------------------------------------------------

    def manifest(self, call: Call, repository: Repository) -> Reply:
        found = repository.find(call.reference)
        if found is None:
            return self.unknown_manifest(call, repository)
        return self.negotiated(call, repository, found) or self.manifest_reply(call, found)

    def unknown_manifest(self, call: Call, repository: Repository) -> Reply:
        del repository
        return failure(404, "MANIFEST_UNKNOWN", "manifest unknown", detail={"Tag": call.reference})

    def negotiated(self, call: Call, repository: Repository, found: Manifest) -> Reply | None:
        """Return what is answered instead because of Accept, or None."""
        del call, repository, found
        return None

    def manifest_reply(self, call: Call, found: Manifest) -> Reply:
        digest = call.reference if call.by_digest else str(Digest.of(found.raw))
        headers = {"Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        return reply(200, found.raw, found.media_type, headers)

    def converted(self, call: Call, repository: Repository, found: Manifest) -> Reply | None:
        """Return the schema 1 form of a manifest's linux/amd64 image, made up on the way; None if it has none."""
        chosen = single(found, repository)
        if chosen is None:
            return None
        raw = schema1(call.name, call.reference, layers_of(chosen))
        return reply(200, raw, SCHEMA1, {"Docker-Content-Digest": str(Digest.of(raw))})

    # --- blobs ----------------------------------------------------------------------------------------------------

    def blob(self, call: Call, repository: Repository) -> Reply:
        found = repository.find_blob(call.reference)
        if found is None:
            return failure(404, "BLOB_UNKNOWN", "blob unknown to registry", detail=call.reference)
        return self.blob_reply(call, found)

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        """Redirect GET and HEAD to the storage."""
        return redirect(self.storage_of(found).link(found, call.request.method))

    def direct_head(self, found: Blob) -> Reply:
        """Answer a HEAD of a blob here."""
        headers = {"Docker-Content-Digest": str(found.digest), "Accept-Ranges": "bytes"}
        return reply(200, found, "application/octet-stream", headers)

    def storage_of(self, found: Blob) -> Storage:
        raise AssertionError(f"{self.kind} has no storage for {found.digest}")

    # --- lists ----------------------------------------------------------------------------------------------------

    def tags(self, call: Call, repository: Repository) -> Reply:
        """Answer a page of tags: `n` up to `page`, `last` a tag, Link relative."""
        names = self.ordered(repository.tags)
        wanted = call.request.parameter("n")
        size = min(int(wanted) if wanted else self.first_page, self.page)
        rest = after(names, call.request.parameter("last"))
        shown = rest[:size]
        answered = self.tags_reply(call, repository, shown)
        if not shown or len(rest) <= size:
            return answered
        return answered.having(Link=f'<{self.tags_link(call, size, shown[-1])}>; rel="next"')

    def ordered(self, names: Iterable[str]) -> list[str]:
        return sorted(names)

    def tags_reply(self, call: Call, repository: Repository, shown: list[str]) -> Reply:
        del repository
        return document({"name": call.name, "tags": shown})

    def tags_link(self, call: Call, size: int, last: str) -> str:
        return f"/v2/{call.name}/tags/list?last={quote(last, safe='')}&n={size}"

    def referrers(self, call: Call, repository: Repository) -> Reply:
        """Say that there is no referrers API, as a router that knows no such path."""
        del call, repository
        return text(404, "404 page not found\n")

    def listed_referrers(self, call: Call, repository: Repository) -> Reply:
        """Answer the referrers as the specification says: filtered, and in pages of `referrers_page`."""
        found = list(repository.referrers(call.reference))
        wanted = call.request.parameter("artifactType")
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        if wanted:
            found = [each for each in found if each.get("artifactType") == wanted]
        start = int(call.request.parameter("next") or 0)
        stop = start + (self.referrers_page or len(found))
        if stop < len(found):
            kept = f"&artifactType={quote(wanted, safe='')}" if wanted else ""
            headers["Link"] = f'</v2/{call.name}/referrers/{call.reference}?next={stop}{kept}>; rel="next"'
        listed = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[start:stop]}
        return document(listed, content_type=OCI_INDEX, headers=headers)


class BearerEmulator(Emulator):
    """A registry behind a token server, whose `TokenPolicy` it is itself."""

    realm: ClassVar[str]
    service: ClassVar[str]
    token_lifetime: ClassVar[float] = 300.0
    token_fields: ClassVar[tuple[str, ...]] = ("token",)
    token_oauth: ClassVar[bool] = False
    readable_tokens: ClassVar[bool] = True

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.issuer = TokenIssuer(self.clock, self.service, self.token_lifetime, self.readable_tokens)
        self.tokens = TokenServer(self.issuer, self, self.token_fields, self.token_oauth)

    def accepts_service(self, service: str) -> bool:
        return service == self.service

    def prove(self, account: Account) -> str:
        if self.accounts.get(account.username) != account.password:
            raise WrongPasswordError
        return account.username

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        del request, user
        return None

    def wrong_password(self, request: Request) -> Reply:
        del request
        return failure(401, "UNAUTHORIZED", "incorrect username or password")

    def is_token_request(self, request: Request) -> bool:
        return f"https://{request.host}{request.path}" == self.realm.partition("?")[0]

    def _registry(self, request: Request) -> Reply:
        if self.is_token_request(request):
            return self.token(request)
        return super()._registry(request)

    def token(self, request: Request) -> Reply:
        """Answer for the token server."""
        return self.limit(request) or self.tokens.answer(request)

    def user(self, request: Request) -> str | None:
        """Return whom the token of a request was made for; None without one, or for an anonymous one."""
        claims = self.issuer.claims(request.authorization or "")
        return (claims["sub"] or None) if claims is not None else None

    def ping(self, request: Request) -> Reply:
        claims = self.issuer.claims(request.authorization or "")
        return document({}) if claims is not None else self.challenge(None, "")

    def authorize(self, call: Call) -> Reply | None:
        header = call.request.authorization
        if header is None:
            return self.challenge(call, "")
        claims = self.issuer.claims(header)
        if claims is None:
            return self.challenge(call, "invalid_token")
        if not self.permits(claims, call):
            return self.denied(call)
        return None

    def permits(self, claims: dict[str, Any], call: Call) -> bool:
        """Tell whether a token is good for a call."""
        return any(each["name"] == call.name for each in claims["access"])

    def challenge(self, call: Call | None, error: str) -> Reply:
        """Return 401 with the challenge, and the error of RFC 6750 §3.1 in it."""
        parts = [f'realm="{self.realm}"', f'service="{self.service}"']
        if call is not None:
            parts.append(f'scope="repository:{call.name}:pull"')
        if error:
            parts.append(f'error="{error}"')
        detail = None
        if call is not None:
            detail = [{"Type": "repository", "Class": "", "Name": call.name, "Action": "pull"}]
        refusal = failure(401, "UNAUTHORIZED", "authentication required", detail=detail)
        return refusal.with_headers({"WWW-Authenticate": f"Bearer {','.join(parts)}"})

    def denied(self, call: Call) -> Reply:
        """Refuse a good token that does not reach so far."""
        return self.challenge(call, "insufficient_scope")


def after(names: list[str], last: str | None) -> list[str]:
    """Return the names after `last`, which need not be one of them where they are sorted."""
    if last is None:
        return names
    if last in names:
        return names[names.index(last) + 1 :]
    return [name for name in names if name > last]


@asynccontextmanager
async def run(
    emulator: E,
    *,
    pause: Callable[[float], Awaitable[None]] | None = None,
    authority: trustme.CA | None = None,
) -> AsyncIterator[E]:
    """Make an emulator reachable.

    `pause` is how a slow reply waits: by default it moves a `FakeClock`, and sleeps by any other. Emulators that
    one client is to reach share an `authority`.
    """
    clock = emulator.clock

    async def advance(seconds: float) -> None:
        if isinstance(clock, FakeClock):
            clock.advance(seconds)
        await asyncio.sleep(0 if isinstance(clock, FakeClock) else seconds)

    bench = Bench(emulator.answer, emulator.route, clock, pause or advance)
    with TemporaryDirectory(prefix="emulator-") as folder:
        async with VirtualHosts(emulator.hosts, Path(folder), bench.serve, authority=authority) as hosts:
            emulator._bench, emulator._hosts = bench, hosts  # noqa: SLF001 - one module
            yield emulator


def settings_of(emulators: Iterable[Emulator], **changes: Any) -> UpstreamSettings:  # noqa: ANN401 - any key
    """Return settings that reach all `emulators`, which were started with one authority."""
    running = list(emulators)
    connect_to = {host: target for each in running for host, target in each.listener.connect_to.items()}
    fields: dict[str, Any] = {"connect_to": connect_to, "ca_file": running[0].listener.ca_file}
    return UpstreamSettings(**(fields | changes))
