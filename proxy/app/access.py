"""Who may use the registry: those who can be known, and what decides what they may do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.app.audit import telling_of_identities
from proxy.app.core import Core, StartupError
from proxy.config.auth import AuthSettings
from proxy.config.identity_files import IdentityFileError
from proxy.config.settings import Settings
from proxy.core.access.attempts import Attempts
from proxy.core.access.authorizer import Authorizer, EveryoneMay
from proxy.core.access.grants import GrantBook, Grants
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.identities import Identities
from proxy.core.access.passwords import PasswordService
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.access.ports import AccessKeys
from proxy.core.access.rates import Rates
from proxy.core.access.tokens import BearerTokens
from proxy.core.access.user_passwords import UserPasswords
from proxy.core.clock import SystemClock
from proxy.core.ports import Clock
from proxy.http.access.authentication import Authenticator
from proxy.http.access.challenge import Challenges
from proxy.identity.access_keys import AccessKeyFile
from proxy.identity.htpasswd import HtpasswdUsers
from proxy.identity.watched import WatchedFile
from proxy.model.access_keys import KEY_FILE, AccessKey
from proxy.model.password_file import PASSWORD_FILE, UserEntry
from proxy.model.principal import Principal
from proxy.storage.errors import StoreUnusableError
from proxy.storage.keys import load_or_make_keys
from proxy.telemetry.notices import Notices


class _NoKeys:
    """The `AccessKeys` of a registry that has none: nobody can sign a request."""

    def find(self, key: str) -> AccessKey | None:  # noqa: ARG002 - the port
        return None

    def knows(self, principal: Principal) -> bool:  # noqa: ARG002 - the port
        return False


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of identities, as far as the configuration names some."""

    users: WatchedFile[UserEntry] | None = None
    access_keys: WatchedFile[AccessKey] | None = None

    @property
    def named(self) -> list[WatchedFile[UserEntry] | WatchedFile[AccessKey]]:
        """Return those that there are."""
        return [file for file in (self.users, self.access_keys) if file is not None]


@dataclass(frozen=True, slots=True)
class Signing:
    """What signed requests are verified by, and layer URLs are signed with."""

    keys: AccessKeys
    tickets: BearerTokens


@dataclass(frozen=True, slots=True)
class Access:
    """What surfaces ask of access control.

    Without `auth`, there is neither `authentication` nor `signing` (of the AWS APIs), and everyone may do everything.
    `configure` takes over what may change in a running server, `request` looks at the files of identities at once.
    """

    rates: Rates
    authorizer: Authorizer
    authentication: Authenticator | None = None
    signing: Signing | None = None
    client_ca: Path | None = None
    grants: GrantBook | None = None
    files: _Files = _Files()

    def configure(self, settings: Settings) -> None:
        """Put the policies of another configuration in force."""
        if self.grants is not None and isinstance(settings.auth, AuthSettings):
            self.grants.replace(Grants.of(settings.auth))

    def request(self) -> None:
        """Ask for a look at the files, and return at once: what a signal handler calls."""
        for file in self.files.named:
            file.request()


@asynccontextmanager
async def open_access(settings: Settings, core: Core, notices: Notices | None = None) -> AsyncIterator[Access]:
    """Read who can be known, and keep to their files while the context lasts. Raises `StartupError`.

    `notices` are told of what changes in these files.
    """
    clock, auth, limits = SystemClock(), settings.auth, settings.server.limits
    rates = Rates(limits.requests_per_second, limits.burst, clock, core.metrics)
    if not isinstance(auth, AuthSettings):
        yield Access(rates, EveryoneMay())
        return
    try:
        keys = await asyncio.to_thread(load_or_make_keys, core.store.layout, "tokens")
        files = await _load_files(auth, core, notices or Notices())
    except (StoreUnusableError, IdentityFileError) as error:
        raise StartupError(str(error)) from error
    for file in files.named:
        core.tasks.spawn("watch a file of identities", file.watch())
    administration, public_url = core.administration, settings.server.public_url
    tokens, ecr = BearerTokens(keys[0], clock, *keys[1:]), administration.identity.ecr
    grants, documents = GrantBook(Grants.of(auth)), PolicyDocuments(core.store.metadata)
    authorizer = PolicyAuthorizer(grants, documents, core.rules, administration.identity, clock)
    async with _open_identities(auth, files, core, clock) as identities:
        checked = None
        if identities.users is not None:
            attempts = Attempts(auth.failed_attempts, clock)
            checked = UserPasswords(identities.users, attempts, core.tasks, clock, core.metrics, auth.password_cache)
        yield Access(
            rates=rates,
            authorizer=authorizer,
            authentication=Authenticator(
                identities,
                PasswordService(identities, administration.passwords, checked),
                tokens,
                Challenges(public_url, basic=ecr),
                lifetime=None if ecr else auth.token_lifetime,
            ),
            signing=Signing(identities.access_keys or _NoKeys(), tokens),
            client_ca=auth.client_ca,
            grants=grants,
            files=files,
        )


@asynccontextmanager
async def _open_identities(auth: AuthSettings, files: _Files, core: Core, clock: Clock) -> AsyncIterator[Identities]:
    async with AsyncExitStack() as stack:
        users = HtpasswdUsers(files.users) if files.users is not None else None
        if users is not None:
            stack.callback(users.close)
        assertions = None
        if auth.oidc:
            from proxy.identity.oidc.assertions import OidcAssertions  # noqa: PLC0415 - PyJWT: few starts need it

            assertions = await stack.enter_async_context(OidcAssertions(auth.oidc, clock, core.metrics))
        yield Identities(
            users=users,
            access_keys=AccessKeyFile(files.access_keys) if files.access_keys is not None else None,
            assertions=assertions,
            providers=frozenset(provider.name for provider in auth.oidc),
            certificates=auth.client_ca is not None,
        )


async def _load_files(auth: AuthSettings, core: Core, notices: Notices) -> _Files:
    users, access_keys, tell = None, None, telling_of_identities(notices)
    if auth.htpasswd is not None:
        users = WatchedFile("auth.htpasswd", auth.htpasswd, PASSWORD_FILE, core.metrics, tell=tell)
        await users.load()
    if auth.access_keys is not None:
        access_keys = WatchedFile("auth.access_keys", auth.access_keys, KEY_FILE, core.metrics, tell=tell)
        await access_keys.load()
    return _Files(users, access_keys)
