"""`pullthrough repositories images` and `delete-image`."""

from collections.abc import Callable

import pytest

from proxy.model.digest import Digest
from tests.unit.cli.conftest import Shell
from tests.unit.cli.kept import INDEX, keep


@pytest.fixture
def shell(make_shell: Callable[[str], Shell]) -> Shell:
    return make_shell("registry: {tags: [{prefix: ROOT, mutability: IMMUTABLE}]}\n")


@pytest.fixture
def tagged(shell: Shell) -> Digest:
    return keep(shell.config, "team/app", "1", "1.0", note="tagged")


def digests(shell: Shell) -> set[str]:
    return {image["digest"] for image in shell.ask("repositories", "images", "team/app")}


def test_images_are_listed_with_their_tags(shell: Shell, tagged: Digest) -> None:
    untagged = keep(shell.config, "team/app", note="untagged")
    found = {image["digest"]: image for image in shell.ask("repositories", "images", "localhost:5000/team/app")}
    assert list(found) == sorted([str(tagged), str(untagged)])
    assert (found[str(tagged)]["tags"], found[str(untagged)]["tags"]) == (["1", "1.0"], [])
    one = found[str(tagged)]
    assert (one["media_type"], one["subject"], one["pulled_at"], one["since"][:2]) == (INDEX, None, None, "20")
    rows = [line.split() for line in shell.run("repositories", "images", "team/app")[0].splitlines()]
    assert [str(tagged), "1", "1.0", INDEX, "0", "B"] in [row[:6] for row in rows]
    counts = shell.ask("repositories", "show", "team/app")
    assert (counts["images"], counts["tags"]) == (2, 2)


def test_without_images_a_sentence_says_so(shell: Shell) -> None:
    shell.run("repositories", "create", "team/app")
    assert shell.run("repositories", "images", "team/app")[0] == "there are no images\n"
    assert shell.ask("repositories", "images", "team/app") == []


def test_an_immutable_tag_is_deleted_and_the_image_with_its_last_one(shell: Shell, tagged: Digest) -> None:
    gone = shell.ask("repositories", "delete-image", "team/app:1")
    assert gone == {"repository": "team/app", "digest": str(tagged), "tags": ["1"], "deleted": True}
    assert digests(shell) == {str(tagged)}
    shell.run("repositories", "delete-image", "team/app:1.0")
    assert digests(shell) == set()


def test_by_digest_an_image_goes_with_all_its_tags(shell: Shell, tagged: Digest) -> None:
    assert shell.run("repositories", "delete-image", f"team/app@{tagged}")[0].splitlines() == [
        "repository  team/app",
        f"digest      {tagged}",
        "tags        1 1.0",
        "deleted     yes",
    ]
    assert digests(shell) == set()


def test_what_is_not_there_is_a_failure(shell: Shell, tagged: Digest) -> None:
    refusal = shell.refusal("repositories", "delete-image", "team/app:2", code=1)
    assert refusal == "team/app:2: Requested image not found"
    assert digests(shell) == {str(tagged)}
