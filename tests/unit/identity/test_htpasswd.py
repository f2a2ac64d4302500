"""Users of a password file: their passwords, and what wrong ones cost."""

from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from proxy.telemetry.metrics import Metrics
from tests.support.identities import PasswordFile, user_line

# As `htpasswd -nbB` wrote them (Apache 2.4.68).
ALICE = "alice:$2y$05$Z7GoYMj7FQkTsmIlHpUonOHuNejVAorT1.6zij5zPzEdq6UEWBj7K"  # correct horse
BOB = "bob:$2y$04$SjyinCLVt8NYnc0GMM0zwuXPTvJ4A9qJPHXJ.OQpgR1Wyi34IdW3C"  # pa:ss wörd


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[PasswordFile]:
    file = PasswordFile(tmp_path / "users", Metrics())
    yield file
    file.users.close()


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the costs of all hashes that are computed."""
    seen = []
    compute = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        seen.append(int(hashed[4:6]))
        return compute(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return seen


async def test_the_lines_of_htpasswd_are_known(file: PasswordFile) -> None:
    await file.hold(ALICE, BOB)
    assert await file.users.verify("alice", "correct horse")
    assert await file.users.verify("bob", "pa:ss wörd")
    assert not await file.users.verify("alice", "pa:ss wörd")
    assert not await file.users.verify("Alice", "correct horse")
    assert not await file.users.verify("carol", "correct horse")


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
async def test_every_kind_of_bcrypt_is_known(file: PasswordFile, kind: str) -> None:
    await file.hold(ALICE.replace("$2y$", kind))
    assert await file.users.verify("alice", "correct horse")
    assert not await file.users.verify("alice", "correct horsf")


@pytest.mark.parametrize("password", ["", "x\0y", "\udcff", "x" * 72, "x" * 73, "ö" * 36 + "x", "x" * 9999])
async def test_any_password_is_right_or_wrong(file: PasswordFile, password: str) -> None:
    await file.hold(user_line("alice", "x" * 72))
    assert await file.users.verify("alice", password) == (password == "x" * 72)


async def test_a_password_that_repeats_another_is_another(file: PasswordFile) -> None:
    await file.hold(user_line("alice", "x"))
    assert not await file.users.verify("alice", "x\0x\0x")


async def test_a_password_is_right_until_the_file_says_otherwise(file: PasswordFile) -> None:
    await file.hold(user_line("alice", "one"), user_line("bob", "bob"))
    before = file.users.version("alice"), file.users.version("bob")
    assert all(before)
    assert file.users.knows("alice")
    await file.hold(user_line("alice", "two"), *file.path.read_text().splitlines()[1:])
    assert not await file.users.verify("alice", "one")
    assert await file.users.verify("alice", "two")
    assert file.users.version("alice") not in {None, before[0]}
    assert file.users.version("bob") == before[1]
    await file.hold()
    assert not await file.users.verify("alice", "two")
    assert not file.users.knows("alice")
    assert file.users.version("alice") is None


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        ("dear", "right", [6]),
        ("dear", "wrong", [6]),
        ("nobody", "wrong", [6]),
        ("cheap", "right", [4]),
        # A cost is twice the one below it: 4 + 4 + 5 is 6.
        ("cheap", "wrong", [4, 4, 5]),
    ],
)
async def test_wrong_passwords_cost_the_same_for_everybody(
    file: PasswordFile, costs: list[int], user: str, password: str, expected: list[int]
) -> None:
    await file.hold(user_line("cheap", "right", 4), user_line("dear", "right", 6))
    assert await file.users.verify(user, password) == (password == "right")
    assert costs == expected
    assert password == "right" or sum(2**cost for cost in costs) == 2**6


async def test_without_users_everything_is_wrong(file: PasswordFile, costs: list[int]) -> None:
    await file.hold()
    assert not await file.users.verify("alice", "x")
    assert costs == [4]
