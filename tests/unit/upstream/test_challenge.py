import pytest

from proxy.upstream.challenge import parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            [
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'
            ],
            [("bearer", "https://auth.docker.io/token", "registry.docker.io", "repository:a/b:pull,push", "")],
        ),
        (["BEARER Realm=https://a/t , SERVICE=x"], [("bearer", "https://a/t", "x", "", "")]),
        (
            ['Basic realm="x", Bearer realm="https://a/t"'],
            [("basic", "x", "", "", ""), ("bearer", "https://a/t", "", "", "")],
        ),
        (
            ['Basic realm="x"', 'Bearer realm="https://a/t"'],
            [("basic", "x", "", "", ""), ("bearer", "https://a/t", "", "", "")],
        ),
        (['Bearer error="invalid_token",realm="a"'], [("bearer", "a", "", "", "invalid_token")]),
        (['Bearer realm="a \\"quoted\\" b"'], [("bearer", 'a "quoted" b', "", "", "")]),
        (['Bearer realm = "a" , service = "b"'], [("bearer", "a", "b", "", "")]),
        (["Negotiate, Basic realm=x"], [("negotiate", "", "", "", ""), ("basic", "x", "", "", "")]),
        (
            ["Bearer scope=repository:a:pull,push,realm=r"],
            [("bearer", "", "", "repository:a:pull", ""), ("push", "r", "", "", "")],
        ),
        (['Bearer realm="first",realm="second"'], [("bearer", "first", "", "", "")]),
        (["Basic", ""], [("basic", "", "", "", "")]),
        (["", ",,", "=", '"'], []),
        (["realm=lost"], []),
        (["Negotiate YWJj=="], [("negotiate", "", "", "", "")]),
    ],
)
def test_challenges_are_read_however_they_are_written(
    headers: list[str], expected: list[tuple[str, str, str, str, str]]
) -> None:
    found = [(each.scheme, each.realm, each.service, each.scope, each.error) for each in parse_challenges(headers)]
    assert found == expected
