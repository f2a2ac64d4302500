"""Files of one entry a line: what is read, and how one line is put in place among the others."""

import pytest

from proxy.model.access_keys import KEY_FILE
from proxy.model.line_grammar import UnfitLineError
from proxy.model.password_file import PASSWORD_FILE
from proxy.model.principal import is_plain, plain_principal

# As `htpasswd -nbB` wrote it (Apache 2.4.68), for the password `correct horse`.
ALICE = "alice:$2y$05$Z7GoYMj7FQkTsmIlHpUonOHuNejVAorT1.6zij5zPzEdq6UEWBj7K"
BOB = ALICE.replace("alice", "bob").replace("$2y$", "$2b$")
OTHER = "alice:$2b$10$Z7GoYMj7FQkTsmIlHpUonOHuNejVAorT1.6zij5zPzEdq6UEWBj7K"
KEY = "PTAAAAAAAAAAAAAAAAAA hush-hush-hush-hush ci"


def test_users_are_read_with_comments_and_empty_lines_between_them() -> None:
    users = PASSWORD_FILE.parse(f"# people\n\n{ALICE}\r\n \t\n  # machines\n{BOB}")
    assert [(user.name, user.cost) for user in users.values()] == [("alice", 5), ("bob", 5)]
    assert users["alice"].line == ALICE


def test_no_hash_and_no_secret_is_shown() -> None:
    assert "Z7GoY" not in repr(PASSWORD_FILE.parse(ALICE))
    assert "hush" not in repr(KEY_FILE.parse(KEY))


@pytest.mark.parametrize(
    "hashed",
    [
        "$apr1$RYvSWkYX$hYhcqCHKsnXAdCZGg/ock/",
        "{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=",
        "$5$4EcNEppdrN5wiA9z$L3GPMDrjVPoCiRqfF.KSnxQ22zKLRnXUXhF9Kl.w5nC",
        "HB0lYHA8r9Aqo",
        "hunter2",
        "",
        ALICE.partition(":")[2].replace("$2y$", "$2x$"),
        f"{ALICE.partition(':')[2]}:more",
        f"{ALICE.partition(':')[2]} ",
        # Bits that are no part of the salt: bcrypt would refuse to compute it.
        "$2y$05$Z7GoYMj7FQkTsmIlHpUonPHuNejVAorT1.6zij5zPzEdq6UEWBj7K",
    ],
)
def test_other_hashes_than_bcrypts_are_refused_with_the_remedy(hashed: str) -> None:
    with pytest.raises(UnfitLineError, match=r"only bcrypt hashes .* `htpasswd -B`") as caught:
        PASSWORD_FILE.parse(f"# one\nbob:{hashed}\n")
    assert caught.value.line == 2
    assert hashed[4:] == "" or hashed[4:] not in str(caught.value)


@pytest.mark.parametrize(("cost", "fits"), [("03", False), ("04", True), ("16", True), ("17", False), ("31", False)])
def test_the_cost_has_bounds(cost: str, fits: bool) -> None:  # noqa: FBT001 - a column of the table
    line = ALICE.replace("$05$", f"${cost}$")
    if fits:
        assert PASSWORD_FILE.parse(line)["alice"].cost == int(cost)
    else:
        with pytest.raises(UnfitLineError, match="the cost of a bcrypt hash is 4 to 16 here"):
            PASSWORD_FILE.parse(line)


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "*", "ali*", "ünal", "a\x00", "a" * 129, "anonymous", "AWS"])
def test_names_that_would_mean_something_else_are_refused(name: str) -> None:
    assert not is_plain(name)
    with pytest.raises(ValueError, match="name"):
        plain_principal(name)
    with pytest.raises(UnfitLineError):
        PASSWORD_FILE.parse(f"{name}:{ALICE.partition(':')[2]}")


@pytest.mark.parametrize("name", ["a:b", "#a"])
def test_names_cannot_have_what_ends_them(name: str) -> None:
    assert not is_plain(name)


@pytest.mark.parametrize("name", ["a", "a@b.example", "team/ci", "Aws", "a" * 128, "1", "a#b"])
def test_other_names_are_taken(name: str) -> None:
    assert plain_principal(name) == name
    assert name in PASSWORD_FILE.parse(f"{name}:{ALICE.partition(':')[2]}")


def test_a_name_stands_once() -> None:
    with pytest.raises(UnfitLineError, match=r"^alice stands here a second time$") as caught:
        PASSWORD_FILE.parse(f"{ALICE}\n{BOB}\n{OTHER}\n")
    assert caught.value.line == 3


def test_a_principal_may_have_several_keys() -> None:
    keys = KEY_FILE.parse(f"{KEY}\n\t{KEY.replace('PTA', 'PTB')}  \n")
    assert [(key.id[:3], key.principal) for key in keys.values()] == [("PTA", "ci"), ("PTB", "ci")]
    assert keys["PTAAAAAAAAAAAAAAAAAA"].line == KEY


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("PTAAAAAAAAAAAAAAAAAA hush-hush-hush-hush", "an id, a secret and a principal"),
        (f"{KEY} more", "an id, a secret and a principal"),
        (KEY.replace("PTA", "pta"), "16 to 128 capital letters"),
        (KEY[5:], "16 to 128 capital letters"),
        (KEY.replace("PT", "A" * 120), "16 to 128 capital letters"),
        (KEY.replace("-hush-hush-hush", ""), "16 to 256 printable ASCII"),
        (KEY.replace("hush ", "hüsh "), "16 to 256 printable ASCII"),
        (KEY.replace("hush ", f"{'h' * 256} "), "16 to 256 printable ASCII"),
        (KEY.replace(" ci", " cert:ci"), "a name is up to 128"),
        (KEY.replace(" ci", " AWS"), "'AWS' cannot be a name"),
        (f"{KEY}\n{KEY}", "PTAAAAAAAAAAAAAAAAAA stands here a second time"),
    ],
)
def test_a_line_that_is_no_key_is_refused_without_being_shown(line: str, problem: str) -> None:
    with pytest.raises(UnfitLineError, match=problem) as caught:
        KEY_FILE.parse(line)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{OTHER}\n"),
        (BOB, f"{BOB}\n{OTHER}\n"),
        (f"# c\n{BOB}\n", f"# c\n{BOB}\n{OTHER}\n"),
        (f"# alice:\n{ALICE}\r\n\n{BOB}", f"# alice:\n{OTHER}\r\n\n{BOB}"),
        (ALICE, OTHER),
    ],
)
def test_a_line_is_put_in_place_and_all_others_stay(before: str, after: str) -> None:
    assert PASSWORD_FILE.put(before, "alice", OTHER) == after
    assert PASSWORD_FILE.put(after, "alice", OTHER) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{ALICE}\n", ""),
        (f"# c\n{ALICE}\n{BOB}", f"# c\n{BOB}"),
        (f"{BOB}\n{ALICE}", BOB),
        (f"{BOB}\n", f"{BOB}\n"),
        ("", ""),
    ],
)
def test_a_line_is_removed_and_all_others_stay(before: str, after: str) -> None:
    assert PASSWORD_FILE.put(before, "alice", None) == after
