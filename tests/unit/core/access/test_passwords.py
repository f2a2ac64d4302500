"""Whose a user name and a password are: the registry's own, tokens of providers, users'."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from proxy.core.access.attempts import Attempts
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.identities import Identities
from proxy.core.access.passwords import PasswordService
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.access.user_passwords import UserPasswords
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.tasks import Tasks
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import ANONYMOUS, Principal
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.identities import PasswordFile, user_line

HERE = "192.0.2.1"
TOKENS = {"token-of-github": "github:team/app", "token-of-gitlab": "gitlab:team/app"}


class Tokens:
    """The port `Assertions`, which knows two tokens."""

    async def verify(self, token: str) -> Principal:
        if token not in TOKENS:
            raise AssertionRefusedError("the signature is wrong")
        return Principal(TOKENS[token])


class Bench:
    """The service over a password file and two providers."""

    def __init__(self, file: PasswordFile, tasks: Tasks, clock: FakeClock) -> None:
        self.file = file
        self.given = RegistryPasswords(b"k" * 32, clock)
        users = UserPasswords(file.users, Attempts(3, clock), tasks, clock, Metrics(), timedelta(minutes=5))
        identities = Identities(
            users=file.users, assertions=Tokens(), providers=frozenset({"github", "gitlab"}), certificates=True
        )
        self.service = PasswordService(identities, self.given, users)

    async def refusal(self, user: str, password: str) -> ProxyError:
        with pytest.raises(ProxyError) as caught:
            await self.service.check(user, password, HERE)
        return caught.value


@pytest.fixture
async def bench(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Bench]:
    file = PasswordFile(tmp_path / "users", Metrics())
    await file.hold(user_line("alice", "hers"))
    async with Tasks() as tasks:
        yield Bench(file, tasks, clock)
    file.users.close()


async def test_users_registry_passwords_and_tokens_name_their_principals(bench: Bench) -> None:
    check = bench.service.check
    assert await check("alice", "hers", HERE) == Caller(Principal("alice"), Scheme.PASSWORD, HERE)
    given = bench.given.issue(Principal("alice")).text
    assert await check("AWS", given, None) == Caller(Principal("alice"), Scheme.REGISTRY_PASSWORD)
    token = await check("github", "token-of-github", HERE)
    assert token == Caller(Principal("github:team/app"), Scheme.OIDC, HERE)


async def test_a_refusal_does_not_tell_whether_there_is_such_a_user(bench: Bench) -> None:
    attempts = [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("anonymous", ""),
        ("a b", ""),
        ("AWS", "wrong"),
        ("AWS", bench.given.issue(Principal("nobody")).text),
        ("github", "wrong"),
        ("github", "token-of-gitlab"),
    ]
    refusals = [await bench.refusal(*attempt) for attempt in attempts]
    assert {(error.code, error.message, tuple(error.headers)) for error in refusals} == {
        (ErrorCode.UNAUTHORIZED, "the user name or the password is wrong", ())
    }
    for (_, password), error in zip(attempts, refusals, strict=True):
        assert not password or password == "wrong" or password not in f"{error.debug}{error!r}"


async def test_an_expired_registry_password_is_told_in_ecrs_words(bench: Bench, clock: FakeClock) -> None:
    given = bench.given.issue(Principal("alice")).text
    clock.advance(12 * 3600 - 1)
    await bench.service.check("AWS", given, HERE)
    clock.advance(1)
    error = await bench.refusal("AWS", given)
    assert (error.code, error.message) == (
        ErrorCode.DENIED,
        "Your authorization token has expired. Reauthenticate and try again.",
    )


@pytest.mark.parametrize(
    ("principal", "good"), [("cert:builder", True), ("github:x", True), ("other:x", False), (ANONYMOUS, False)]
)
async def test_a_registry_password_is_good_while_its_principal_could_be_known(
    bench: Bench,
    principal: str,
    good: bool,  # noqa: FBT001 - a column of the table
) -> None:
    given = bench.given.issue(Principal(principal)).text
    if good:
        assert (await bench.service.check("AWS", given, HERE)).principal == principal
    else:
        assert (await bench.refusal("AWS", given)).code is ErrorCode.UNAUTHORIZED


async def test_a_removed_user_has_no_registry_password_any_more(bench: Bench) -> None:
    given = bench.given.issue(Principal("alice")).text
    await bench.service.check("AWS", given, HERE)
    await bench.file.hold()
    assert (await bench.refusal("AWS", given)).code is ErrorCode.UNAUTHORIZED


async def test_what_cannot_be_guessed_is_not_limited(bench: Bench) -> None:
    # Behind one address there are many jobs; one that has an old password keeps no other from pulling.
    for _ in range(10):
        await bench.refusal("AWS", "wrong")
        await bench.refusal("github", "wrong")
    assert not (await bench.service.check("alice", "hers", HERE)).anonymous


async def test_too_many_wrong_passwords_are_told_with_the_time_to_wait(bench: Bench) -> None:
    for number in range(3):
        await bench.refusal("alice", f"guess{number}")
    error = await bench.refusal("alice", "hers")
    assert (error.code, error.headers) == (ErrorCode.TOOMANYREQUESTS, {"Retry-After": "60"})


async def test_without_users_no_password_is_right(clock: FakeClock) -> None:
    service = PasswordService(Identities(), RegistryPasswords(b"k" * 32, clock), None)
    with pytest.raises(ProxyError) as caught:
        await service.check("alice", "hers", HERE)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
