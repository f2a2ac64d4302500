"""Whether something that names a principal could still do so."""

from pathlib import Path

import pytest

from proxy.core.access.identities import Identities
from proxy.identity.access_keys import AccessKeyFile
from proxy.identity.watched import WatchedFile
from proxy.model.access_keys import KEY_FILE
from proxy.model.principal import ANONYMOUS, Principal
from proxy.telemetry.metrics import Metrics
from tests.support.identities import PasswordFile, put, user_line


@pytest.fixture
async def identities(tmp_path: Path) -> Identities:
    file = PasswordFile(tmp_path / "users", Metrics())
    await file.hold(user_line("alice", "x"))
    keys = WatchedFile("auth.access_keys", tmp_path / "keys", KEY_FILE, Metrics())
    put(tmp_path / "keys", "PTAAAAAAAAAAAAAAAAAA secret-of-the-team ci")
    await keys.load()
    return Identities(file.users, AccessKeyFile(keys), providers=frozenset({"github"}), certificates=True)


@pytest.mark.parametrize(
    ("principal", "known"),
    [
        ("alice", True),
        ("ci", True),
        ("bob", False),
        ("github:repo:team/app", True),
        ("gitlab:repo:team/app", False),
        ("cert:builder", True),
        ("github", False),
        ("cert", False),
        (":alice", False),
        (ANONYMOUS, False),
    ],
)
async def test_users_and_owners_of_keys_must_be_there_and_others_must_be_taken(
    identities: Identities,
    principal: str,
    known: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert identities.knows(Principal(principal)) == known
    assert not Identities().knows(Principal(principal))
