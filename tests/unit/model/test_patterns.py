"""Patterns of repository names: what fits, and what no name could fit."""

import pytest

from proxy.model.patterns import NamePattern


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("library/nginx", ["library/nginx"], ["library/nginx2", "library", "library/nginx/x", "x/library/nginx"]),
        ("library/*", ["library/nginx", "library/a-b.c"], ["library", "library/a/b", "libraryx/a"]),
        ("library/**", ["library/a", "library/a/b/c"], ["library", "libraryx/a"]),
        ("**", ["a", "a/b/c"], []),
        ("*", ["a", "abc"], ["a/b"]),
        ("lib*", ["lib", "library"], ["lib/x", "mylib"]),
        ("*lib", ["lib", "mylib"], ["library", "x/lib"]),
        ("a*b*c", ["abc", "axbxc", "abbc"], ["ab", "acb", "a/b/c"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*ab*ba*", ["abba", "xab-yba"], ["aba", "ba-ab"]),
        ("**/secret", ["a/secret", "a/b/secret"], ["secret", "a/secret/b"]),
        ("team/**/*-dev", ["team/a/x-dev", "team/a/b/x-dev"], ["team/x-dev", "team/a/x-devs"]),
        ("a/**/**", ["a/b/c", "a/b/c/d"], ["a", "a/b"]),
        ("one/*/app", ["one/x/app"], ["one/app", "one/x/y/app"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_whole_names_fit(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert [name for name in (*fitting, *others) if NamePattern(pattern).fits(name)] == fitting


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "a//b", "A/*", "a b", "a/-x", "_*", "a..b*", "re?", "[ab]", "!a", "a:b", "a" * 256]
)
def test_what_no_name_fits_is_refused_with_the_form_of_patterns(text: str) -> None:
    with pytest.raises(ValueError, match=r"fits no name: a pattern is segments of a repository name joined by /"):
        NamePattern(text)


@pytest.mark.parametrize("text", ["lib**", "a/**b/c", "***"])
def test_two_stars_stand_alone(text: str) -> None:
    with pytest.raises(ValueError, match=r"\*\* stands between slashes, not beside other characters"):
        NamePattern(text)


def test_a_pattern_of_many_stars_is_matched_in_no_time() -> None:
    # A backtracking matcher would not return within the lifetime of the test.
    assert not NamePattern("*a" * 60 + "b").fits("a" * 255)
    assert not NamePattern("**/a/" * 20 + "b").fits("a/" * 127 + "a")
