"""The grammars of password files and files of access keys, against generated text."""

import bcrypt
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.access_keys import KEY_FILE, AccessKey
from proxy.model.line_grammar import LineGrammar, UnfitLineError
from proxy.model.password_file import PASSWORD_FILE, UserEntry
from proxy.model.principal import RESERVED, is_plain, plain_principal

names = st.from_regex(r"[!-)+-9;-~]{1,20}", fullmatch=True).filter(
    lambda name: not name.startswith("#") and name not in RESERVED
)
hashes = st.builds(
    "$2{}$04${}{}".format,
    st.sampled_from("aby"),
    st.from_regex(r"[./A-Za-z0-9]{21}[.Oeu]", fullmatch=True),
    st.from_regex(r"[./A-Za-z0-9]{31}", fullmatch=True),
)
users = st.builds(lambda name, hashed: UserEntry(plain_principal(name), hashed, 4), names, hashes)
keys = st.builds(
    lambda key, secret, name: AccessKey(key, secret, plain_principal(name)),
    st.from_regex(r"[A-Z0-9]{16,24}", fullmatch=True),
    st.from_regex(r"[!-~]{16,40}", fullmatch=True),
    names,
)
silence = st.sampled_from(["", " ", "\t", "# a comment", "  #x:y", "#"])
noise = st.text(max_size=60) | st.text(alphabet="ab:$2y04./\r\n \t#*", max_size=90)


def check(grammar: LineGrammar[UserEntry] | LineGrammar[AccessKey], text: str) -> None:
    """Show that a text is read as lines that each spell their entry, or refused with the number of one."""
    lines = text.split("\n")
    try:
        found = grammar.parse(text)
    except UnfitLineError as error:
        assert 1 <= error.line <= len(lines)  # noqa: PT017 - refused or read, and nothing else
        return
    spoken = [line for line in lines if line.strip(" \t\r") and not line.lstrip(" \t").startswith("#")]
    assert len(found) == len(spoken)


@given(noise)
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    check(PASSWORD_FILE, text)
    check(KEY_FILE, text)


@given(st.text(max_size=12))
def test_names_are_taken_only_where_they_cannot_be_taken_for_anything_else(text: str) -> None:
    if is_plain(text):
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set(":* ")
        assert text not in RESERVED


@given(st.lists(users, max_size=6, unique_by=lambda user: user.name), st.lists(silence, max_size=4), st.data())
def test_password_files_survive_writing_reading_and_changing(
    entries: list[UserEntry], silent: list[str], data: st.DataObject
) -> None:
    lines = data.draw(st.permutations([*(entry.line for entry in entries), *silent]))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = ending.join(lines) + data.draw(st.sampled_from(["", ending]))
    wanted = {entry.name: entry for entry in entries}
    assert PASSWORD_FILE.parse(text) == wanted
    fresh = data.draw(users)
    put = PASSWORD_FILE.put(text, fresh.name, fresh.line)
    assert PASSWORD_FILE.parse(put) == wanted | {fresh.name: fresh}
    removed = PASSWORD_FILE.put(put, fresh.name, None)
    assert PASSWORD_FILE.parse(removed) == {name: entry for name, entry in wanted.items() if name != fresh.name}
    others = [line for line in lines if not line.startswith(f"{fresh.name}:")]
    assert [line.removesuffix("\r") for line in removed.split("\n")][: len(others)] == others


@given(st.lists(keys, max_size=6, unique_by=lambda key: key.id), st.data())
def test_files_of_access_keys_survive_writing_reading_and_changing(
    entries: list[AccessKey], data: st.DataObject
) -> None:
    text = "".join(f"{entry.line}\n" for entry in entries)
    wanted = {entry.id: entry for entry in entries}
    assert KEY_FILE.parse(text) == wanted
    fresh = data.draw(keys)
    put = KEY_FILE.put(text, fresh.id, fresh.line)
    assert KEY_FILE.parse(put) == wanted | {fresh.id: fresh}
    assert KEY_FILE.put(KEY_FILE.put(text, fresh.id, None), fresh.id, None) == KEY_FILE.put(put, fresh.id, None)


@given(hashes, st.binary(max_size=72))
def test_every_hash_that_is_taken_can_be_checked(hashed: str, password: bytes) -> None:
    assert bcrypt.checkpw(password, hashed.encode()) in {True, False}
