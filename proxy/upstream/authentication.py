"""Answering a registry's challenges with a rule's credentials, and remembering what was answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from cachetools import LRUCache, TTLCache

from proxy.config.settings import UpstreamSettings
from proxy.core.ports import Clock
from proxy.core.registry.secrets.ports import SecretError, SecretFailure, SecretLogins
from proxy.model.credentials import EcrCredentials, SecretCredentials
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule, Remote
from proxy.upstream.challenge import Challenge
from proxy.upstream.credential import Credential
from proxy.upstream.credentials import read_credential
from proxy.upstream.deadline import Deadline
from proxy.upstream.ecr import EcrPasswords
from proxy.upstream.failures import remedy
from proxy.upstream.tokens import Account, TokenKey, Tokens

_REPOSITORIES = 4096
_ACCOUNTS = 1024
_BASIC_LIFETIME = 300.0
_MOVED = frozenset(
    {
        UpstreamFailure.UNREACHABLE,
        UpstreamFailure.GARBAGE,
        UpstreamFailure.NOT_FOUND,
        UpstreamFailure.UNSUPPORTED,
        UpstreamFailure.DENIED,
    }
)
"""How a token server fails that a registry no longer uses."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An Authorization header. `fresh`: made for the challenge at hand, so that a refusal of it is final."""

    header: str
    fresh: bool
    key: TokenKey | None = None
    credential: Credential | None = None


@dataclass(frozen=True, slots=True)
class _Answered:
    """A challenge that was answered before, to answer it again unasked."""

    challenge: Challenge
    credential: Credential | None


class Authenticator:
    """Turn challenges into Authorization headers. A credential that was refused rests for `negative_ttl`.

    `secrets` knows what is in the secrets that rules name; without it such rules have no usable credentials.
    """

    def __init__(
        self,
        tokens: Tokens,
        passwords: EcrPasswords,
        settings: UpstreamSettings,
        clock: Clock,
        secrets: SecretLogins | None = None,
    ) -> None:
        self._tokens = tokens
        self._passwords = passwords
        self._secrets = secrets
        self._answered: LRUCache[tuple[Account, RepositoryName], _Answered] = LRUCache(_REPOSITORIES)
        self._basic: TTLCache[Account, Credential] = TTLCache(_ACCOUNTS, _BASIC_LIFETIME, timer=clock.monotonic)
        self._resting: TTLCache[tuple[str, str], bool] = TTLCache(
            _ACCOUNTS, settings.negative_ttl.total_seconds(), timer=clock.monotonic
        )

    async def remembered(self, remote: Remote, deadline: Deadline) -> Grant | None:
        """Return a grant for a registry that asked before, or None to ask without."""
        await self._forget_changed(remote, deadline)
        basic = self._basic.get(Account.of(remote.rule))
        if basic is not None:
            return Grant(basic.basic, fresh=False, credential=basic)
        answered = self._answered.get(_place(remote))
        if answered is None:
            return None
        key = self._tokens.key(remote, answered.challenge, answered.credential)
        token = self._tokens.kept(key)
        if token is None:
            # The credential may have been replaced since: read it again before it is sent.
            try:
                grant = await self._bearer(remote, answered.challenge, deadline)
            except UpstreamError as error:
                if error.failure not in _MOVED:
                    raise
                # The registry may name another token server by now.
                return None
            return Grant(grant.header, fresh=False, key=grant.key, credential=grant.credential)
        return Grant(f"Bearer {token}", fresh=False, key=key, credential=answered.credential)

    async def grant(self, remote: Remote, challenges: Sequence[Challenge], deadline: Deadline) -> Grant:
        """Return a new answer to `challenges`, Bearer before Basic; raise `UpstreamError` if there is none."""
        bearer = next((each for each in challenges if each.scheme == "bearer" and each.realm), None)
        if bearer is not None:
            return await self._bearer(remote, bearer, deadline)
        if not any(each.scheme == "basic" for each in challenges):
            raise UpstreamError(
                UpstreamFailure.DENIED,
                f"{remote.rule.upstream} asks for a kind of authentication that is not known here",
            )
        credential = await self.credential(remote.rule, deadline)
        if credential is None or credential.identity:
            raise UpstreamError(
                UpstreamFailure.DENIED,
                f"{remote.rule.upstream} asks for a user name and a password, and rule {remote.rule.prefix} has none: "
                f"{remedy(remote.rule)}",
            )
        self._basic[Account.of(remote.rule)] = credential
        return Grant(credential.basic, fresh=True, credential=credential)

    async def login(self, remote: Remote, challenges: Sequence[Challenge], deadline: Deadline) -> Grant:
        """Return a new proof of the rule's credentials alone: a token for no repository, or Basic.

        Raises `UpstreamError` CREDENTIALS_REFUSED where the token server gives none. `challenges` are those of the
        API itself, where ghcr.io names a scope that nobody has.
        """
        bearer = next((each for each in challenges if each.scheme == "bearer" and each.realm), None)
        if bearer is None:
            return await self.grant(remote, challenges, deadline)
        rule, credential = remote.rule, await self.credential(remote.rule, deadline)
        fingerprint = credential.fingerprint if credential is not None else ""
        key = TokenKey(Account.of(rule), bearer.realm, bearer.service, "", fingerprint)
        try:
            token = await self._fetch(remote, key, credential, deadline)
        except UpstreamError as error:
            if error.failure is not UpstreamFailure.DENIED:
                raise
            raise UpstreamError(
                UpstreamFailure.CREDENTIALS_REFUSED,
                f"the token server of {rule.upstream} gives nothing for the `credentials` of rule {rule.prefix}",
            ) from None
        return Grant(f"Bearer {token}", fresh=True, key=key, credential=credential)

    def refused(self, remote: Remote, grant: Grant) -> None:
        """Forget a grant that the registry answered with 401; raise `UpstreamError` if it was fresh."""
        rule = remote.rule
        self._answered.pop(_place(remote), None)
        if grant.key is not None:
            self._tokens.drop(grant.key, grant.header.removeprefix("Bearer "))
            if grant.fresh:
                raise UpstreamError(
                    UpstreamFailure.DENIED, f"{rule.upstream} denies {remote.repository}: {remedy(rule)}"
                )
            return
        self._basic.pop(Account.of(rule), None)
        if grant.credential is not None:
            self._passwords.drop(grant.credential)
        if grant.fresh and grant.credential is not None:
            self._rest(rule, grant.credential)
            raise _refused(rule)

    async def _bearer(self, remote: Remote, challenge: Challenge, deadline: Deadline) -> Grant:
        credential = await self.credential(remote.rule, deadline)
        key = self._tokens.key(remote, challenge, credential)
        kept = self._tokens.kept(key)
        token = kept or await self._fetch(remote, key, credential, deadline)
        self._answered[_place(remote)] = _Answered(challenge, credential)
        return Grant(f"Bearer {token}", fresh=kept is None, key=key, credential=credential)

    async def _fetch(self, remote: Remote, key: TokenKey, credential: Credential | None, deadline: Deadline) -> str:
        try:
            async with deadline.within():
                return await self._tokens.fetch(remote, key, credential)
        except TimeoutError:
            raise UpstreamError(
                UpstreamFailure.TIMEOUT, f"the token server of {remote.rule.upstream} did not answer in time"
            ) from None
        except UpstreamError as error:
            self._answered.pop(_place(remote), None)
            if error.failure is UpstreamFailure.CREDENTIALS_REFUSED and credential is not None:
                self._rest(remote.rule, credential)
            raise

    async def _forget_changed(self, remote: Remote, deadline: Deadline) -> None:
        """Forget what was granted for another content of the rule's secret."""
        rule, account = remote.rule, Account.of(remote.rule)
        if not isinstance(rule.credentials, SecretCredentials):
            return
        answered = self._answered.get(_place(remote))
        if account not in self._basic and answered is None:
            return
        credential = await self._of_secret(rule, rule.credentials, deadline)
        if self._basic.get(account) not in {None, credential}:
            del self._basic[account]
        if answered is not None and answered.credential != credential:
            self._answered.pop(_place(remote), None)

    async def _of_secret(self, rule: CacheRule, source: SecretCredentials, deadline: Deadline) -> Credential:
        unusable = f"the `credentials` of rule {rule.prefix} cannot be used"
        if self._secrets is None:
            raise UpstreamError(
                UpstreamFailure.CREDENTIALS_REFUSED, f"{unusable}: this program has no access to secrets here"
            )
        try:
            async with deadline.within():
                login = await self._secrets.login(source.arn)
        except TimeoutError:
            raise UpstreamError(
                UpstreamFailure.TIMEOUT, f"the secret of rule {rule.prefix} could not be read in time"
            ) from None
        except SecretError as error:
            unavailable = error.failure is SecretFailure.UNAVAILABLE
            failure = UpstreamFailure.UNREACHABLE if unavailable else UpstreamFailure.CREDENTIALS_REFUSED
            raise UpstreamError(failure, f"{unusable}: {error.message}") from None
        return Credential(login.username, login.token)

    async def credential(self, rule: CacheRule, deadline: Deadline) -> Credential | None:
        """Return the credential of `rule`, or None for an anonymous one.

        Raises `UpstreamError` CREDENTIALS_REFUSED if there is none although the rule names a source, or if it was
        refused a moment ago.
        """
        match rule.credentials:
            case None:
                return None
            case EcrCredentials() as source:
                try:
                    async with deadline.within():
                        credential = await self._passwords.credential(rule, source)
                except TimeoutError:
                    raise UpstreamError(
                        UpstreamFailure.TIMEOUT, f"AWS did not answer in time with a password for {rule.upstream}"
                    ) from None
            case SecretCredentials() as source:
                credential = await self._of_secret(rule, source, deadline)
            case source:
                credential = await read_credential(rule, source)
        if (rule.upstream.origin, credential.fingerprint) in self._resting:
            raise _refused(rule)
        return credential

    def _rest(self, rule: CacheRule, credential: Credential) -> None:
        # Docker Hub and GitLab lock out whoever goes on with a wrong password.
        self._resting[rule.upstream.origin, credential.fingerprint] = True


def _place(remote: Remote) -> tuple[Account, RepositoryName]:
    return Account.of(remote.rule), remote.repository


def _refused(rule: CacheRule) -> UpstreamError:
    return UpstreamError(
        UpstreamFailure.CREDENTIALS_REFUSED,
        f"{rule.upstream} refused the `credentials` of rule {rule.prefix}; mend them, or wait before the next attempt",
    )
