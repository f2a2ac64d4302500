"""The one parser of paths: what it accepts, what it refuses, and with which error."""

import pytest

from proxy.http.oci.paths import Kind, Target, parse
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName, Tag

HEX = "a" * 64
DIGEST = Digest("sha256", HEX)


def target(
    kind: Kind, name: str = "", reference: str | Digest | None = None, prefix: str = "", session: str = ""
) -> Target:
    base = f"/{prefix}/v2" if prefix else "/v2"
    known = Tag(reference) if isinstance(reference, str) else reference
    return Target(kind, base, prefix, RepositoryName(name), known, session)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", target(Kind.PING)),
        ("/v2/", target(Kind.PING)),
        ("/v2/?ns=docker.io", target(Kind.PING)),
        ("/docker-hub/v2/", target(Kind.PING, prefix="docker-hub")),
        ("/docker-hub/v2", target(Kind.PING, prefix="docker-hub")),
        ("/v2/token", target(Kind.TOKEN)),
        ("/v2/token?service=x&scope=y", target(Kind.TOKEN)),
        ("/docker-hub/v2/token", target(Kind.TOKEN, prefix="docker-hub")),
        ("/v2/token/manifests/latest", target(Kind.MANIFEST, "token", "latest")),
        ("/v2/_catalog", target(Kind.CATALOG)),
        ("/v2/nginx/manifests/latest", target(Kind.MANIFEST, "nginx", "latest")),
        ("/v2/docker-hub/library/nginx/manifests/1.25", target(Kind.MANIFEST, "docker-hub/library/nginx", "1.25")),
        ("/v2/nginx/manifests/latest?ns=docker.io", target(Kind.MANIFEST, "nginx", "latest")),
        (f"/v2/nginx/manifests/sha256:{HEX}", target(Kind.MANIFEST, "nginx", DIGEST)),
        (f"/v2/nginx/manifests/sha256%3A{HEX}", target(Kind.MANIFEST, "nginx", DIGEST)),
        (f"/v2/nginx/manifests/sha256%3a{HEX}", target(Kind.MANIFEST, "nginx", DIGEST)),
        (f"/v2/nginx/blobs/sha256:{HEX}", target(Kind.BLOB, "nginx", DIGEST)),
        (f"/v2/nginx/blobs/sha512:{HEX}{HEX}", target(Kind.BLOB, "nginx", Digest("sha512", HEX + HEX))),
        (f"/v2/nginx/referrers/sha256:{HEX}", target(Kind.REFERRERS, "nginx", DIGEST)),
        ("/v2/nginx/tags/list", target(Kind.TAGS, "nginx")),
        ("/v2/nginx/tags/list?n=5&last=a", target(Kind.TAGS, "nginx")),
        ("/v2/nginx/blobs/uploads/", target(Kind.UPLOADS, "nginx")),
        ("/v2/nginx/blobs/uploads", target(Kind.UPLOADS, "nginx")),
        ("/v2/nginx/blobs/uploads/0f3c-11", target(Kind.UPLOAD, "nginx", session="0f3c-11")),
        ("/docker-hub/v2/library/nginx/tags/list", target(Kind.TAGS, "library/nginx", prefix="docker-hub")),
        ("/team/hub/v2/x/manifests/y", target(Kind.MANIFEST, "x", "y", prefix="team/hub")),
        ("http://127.0.0.1:5000/v2/nginx/tags/list", target(Kind.TAGS, "nginx")),
    ],
)
def test_layouts(path: str, expected: Target) -> None:
    assert parse(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/manifests/manifests/latest", target(Kind.MANIFEST, "manifests", "latest")),
        ("/v2/a/manifests/b/manifests/c", target(Kind.MANIFEST, "a/manifests/b", "c")),
        ("/v2/a/tags/list/manifests/latest", target(Kind.MANIFEST, "a/tags/list", "latest")),
        ("/v2/a/blobs/uploads/manifests/latest", target(Kind.MANIFEST, "a/blobs/uploads", "latest")),
        ("/v2/a/blobs/uploads/tags/list", target(Kind.TAGS, "a/blobs/uploads")),
        ("/v2/tags/tags/list", target(Kind.TAGS, "tags")),
        ("/v2/a/manifests/list", target(Kind.MANIFEST, "a", "list")),
        (f"/v2/a/blobs/blobs/sha256:{HEX}", target(Kind.BLOB, "a/blobs", DIGEST)),
        (f"/v2/a/uploads/blobs/sha256:{HEX}", target(Kind.BLOB, "a/uploads", DIGEST)),
        ("/v2/v2/manifests/latest", target(Kind.MANIFEST, "v2", "latest")),
        ("/v2/a/v2/b/manifests/latest", target(Kind.MANIFEST, "a/v2/b", "latest")),
        ("/hub/v2/a/v2/manifests/latest", target(Kind.MANIFEST, "a/v2", "latest", prefix="hub")),
    ],
)
def test_names_may_hold_the_fixed_words(path: str, expected: Target) -> None:
    assert parse(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "/",
        "//",
        "/v1/",
        "/v2//",
        "//v2/",
        "/V2/",
        "/v2/_catalog/",
        "/v2/nginx",
        "/v2/nginx/",
        "/v2/manifests/latest",
        "/v2/tags/list",
        "/v2/nginx/tags",
        "/v2/nginx/tags/list/",
        "/v2/nginx/tags/other",
        "/v2/nginx/_oci/ext/discover",
        "/v2//nginx/manifests/latest",
        "/v2/nginx//manifests/latest",
        "/v2/library//nginx/tags/list",
        "/v2/../etc/manifests/passwd",
        "/v2/nginx/../other/manifests/latest",
        "/v2/nginx/./tags/list",
        "/v2/nginx/manifests/..",
        "/v2/nginx/manifests/%2e%2e",
        "/v2/nginx/blobs/%2e%2e/%2e%2e/etc/passwd",
        "/v2/library%2Fnginx/manifests/latest",
        "/v2/library%252Fnginx/manifests/latest",
        "/v2%2Fnginx%2Ftags%2Flist",
        "/%76%32/",
        "/%2F%2F%2F..%2F..%2Fetc%2Fpasswd",
        f"/v2/nginx/manifests/sha256%253A{HEX}",
        f"/v2/nginx%3Alatest/blobs/sha256:{HEX}",
        f"/v2/nginx/blobs/sha256%2F{HEX}",
        "/v2/nginx/blobs/sha256:%2e%2e",
        "/v2/nginx/manifests/la%74est",
        "/v2/nginx/manifests/latest%00",
        "/v2/nginx/manifests/latest%0a",
        "/v2/nginx/manifests/latest\n",
        "/v2/nginx/manifests/lat\u00e9st",
        "/v2/ngin\u0445/manifests/latest",
        "/v2/nginx/manifests/\udcff",
        "/v2/nginx\\..\\x/manifests/latest",
        "/v2/nginx/manifests/latest;x=1",
        "/v2/nginx/manifests/latest#x",
        "/Hub/v2/nginx/tags/list",
        "/hub//v2/nginx/tags/list",
        "/../v2/nginx/tags/list",
        "/_hub/v2/nginx/tags/list",
        "http:///v2/",
        "v2/nginx/tags/list",
        "127.0.0.1:443",
        "/v2/" + "a/" * 600 + "tags/list",
    ],
)
def test_anything_else_is_not_found(path: str) -> None:
    with pytest.raises(ProxyError) as refused:
        parse(path)
    assert refused.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/Nginx/manifests/latest", ErrorCode.NAME_INVALID),
        ("/v2/-nginx/tags/list", ErrorCode.NAME_INVALID),
        ("/v2/localhost:5000/nginx/tags/list", ErrorCode.NAME_INVALID),
        ("/v2/_oci/tags/list", ErrorCode.NAME_INVALID),
        ("/v2/a..b/tags/list", ErrorCode.NAME_INVALID),
        (f"/v2/{'a' * 256}/tags/list", ErrorCode.NAME_INVALID),
        ("/v2/nginx/manifests/", ErrorCode.MANIFEST_UNKNOWN),
        ("/v2/nginx/manifests/.hidden", ErrorCode.MANIFEST_UNKNOWN),
        (f"/v2/nginx/manifests/{'a' * 129}", ErrorCode.MANIFEST_UNKNOWN),
        ("/v2/nginx/manifests/sha256:abc", ErrorCode.DIGEST_INVALID),
        (f"/v2/nginx/manifests/sha256:{HEX.upper()}", ErrorCode.DIGEST_INVALID),
        (f"/v2/nginx/manifests/md5:{HEX}", ErrorCode.DIGEST_INVALID),
        (f"/v2/nginx/blobs/sha256:{HEX}0", ErrorCode.DIGEST_INVALID),
        ("/v2/nginx/blobs/latest", ErrorCode.DIGEST_INVALID),
        ("/v2/nginx/blobs/", ErrorCode.DIGEST_INVALID),
        ("/v2/nginx/referrers/latest", ErrorCode.DIGEST_INVALID),
    ],
)
def test_bad_names_and_references_are_told_apart(path: str, code: ErrorCode) -> None:
    with pytest.raises(ProxyError) as refused:
        parse(path)
    assert refused.value.code is code


def test_a_name_of_255_characters_is_accepted() -> None:
    assert parse(f"/v2/{'a' * 255}/tags/list").name == "a" * 255


def test_an_endpoint_without_digest_has_none() -> None:
    with pytest.raises(TypeError):
        _ = parse("/v2/nginx/manifests/latest").digest
