"""The parsers that strangers reach, each as a function of bytes that raises only where the parser breaks its contract.

Nothing here asks a network or a clock: the same bytes always do the same.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from multidict import CIMultiDict

from proxy.config.auth import OidcSettings
from proxy.core.access.iam.evaluation import Request, evaluate
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.access.scopes import parse_scopes
from proxy.core.access.tokens import BearerTokens, TokenExpiredError
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.policy_documents import PolicyKind, parse_policy
from proxy.http.access.credentials import Basic, UnreadableCredentialsError, parse_authorization
from proxy.http.aws.access import REFUSALS
from proxy.http.aws.signatures import Signatures
from proxy.http.oci.paths import parse
from proxy.identity.oidc.assertions import OidcAssertions
from proxy.identity.oidc.jwks import KeySet, UnusableKeysError
from proxy.identity.oidc.tokens import read_token
from proxy.model.access_keys import KEY_FILE
from proxy.model.api_errors import ApiError
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.line_grammar import UnfitLineError
from proxy.model.pages import PAGE_LIMIT, parse_page
from proxy.model.password_file import PASSWORD_FILE
from proxy.model.principal import Principal
from proxy.model.ranges import parse_range
from proxy.model.reference import parse_reference, parse_repository
from proxy.model.strict_json import JsonError, check_json
from proxy.telemetry.metrics import Metrics
from proxy.upstream.challenge import parse_challenges
from tests.support.clock import FakeClock
from tests.support.signing import ANN, ECR, KnownKeys, Sent, Signer

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9-]+")

NOW: Final = 1_800_000_000.0
HEX: Final = "a" * 64
ARN: Final = "arn:aws:ecr:us-east-1:000000000000:repository/team/app"
SIZE: Final = 16 << 10
"""The most bytes that are tried at once: what a field of a request may have."""


class BrokenContractError(Exception):
    """A parser did what its contract excludes."""


@dataclass(frozen=True)
class Target:
    """A parser, and inputs from which others are made."""

    feed: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def text_of(data: bytes) -> str:
    """Return the text that aiohttp makes of what was sent: bytes that are no UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, which waits for nothing."""
    try:
        work.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    work.close()
    raise BrokenContractError("it waits")


def require(kept: object, what: str) -> None:
    """Raise `BrokenContractError` unless what a parser promises was kept."""
    if not kept:
        raise BrokenContractError(what)


def feed_challenge(data: bytes) -> None:
    for challenge in parse_challenges(text_of(data).split("\n")):
        require(challenge.scheme == challenge.scheme.lower(), "schemes are in lower case")
        require(all(isinstance(each, str) for each in (challenge.realm, challenge.scope)), "parameters are text")


def feed_authorization(data: bytes) -> None:
    try:
        found = parse_authorization(text_of(data).split("\n"))
    except UnreadableCredentialsError as error:
        require(len(str(error)) < 100, "a refusal repeats nothing")
        return
    if isinstance(found, Basic):
        require(":" not in found.user, "a name ends at the first colon")
        require(repr(found) == f"Basic(user={found.user!r})", "a password is not shown")


def feed_range(data: bytes) -> None:
    found = parse_range(text_of(data))
    for total in (0, 1, 10, 1 << 40):
        try:
            first, beyond = found.resolve(total) if found is not None else (0, total)
        except ProxyError as error:
            require(error.code is ErrorCode.RANGE_INVALID, "a range that is refused is 416")
        else:
            require(0 <= first <= beyond <= total, "a range lies inside of the content")


def feed_path(data: bytes) -> None:
    try:
        found = parse(text_of(data))
    except ProxyError as error:
        _require_told(error)
        return
    require(not {"..", "."} & {*found.base.split("/"), *found.name.split("/")}, "a path goes down only")
    require(not found.name or parse_repository(found.name) == found.name, "a name is one of the grammar")


def feed_reference(data: bytes) -> None:
    text = text_of(data)
    for read in (parse_reference, parse_repository, Digest.parse):
        try:
            found = read(text)
        except ProxyError as error:
            _require_told(error)
        else:
            require(str(found) == text, "what is read is what was written")
            require(not {"..", ".", ""} & set(text.split("/")), "a reference goes down only")


def feed_page(data: bytes) -> None:
    n, _, last = text_of(data).partition("&")
    try:
        page = parse_page(n or None, last)
    except ProxyError as error:
        _require_told(error)
    else:
        require(page.n is None or 0 <= page.n <= PAGE_LIMIT, "a page is bounded")


def _require_told(error: ProxyError) -> None:
    require(400 <= error.code.status < 500, "who asked wrongly is told so")
    told = json.dumps({"message": error.message, "detail": error.detail})
    require(len(told) < 4 * SIZE, "an answer is not much longer than what was asked")


def feed_scope(data: bytes) -> None:
    scopes = parse_scopes(text_of(data).split("&"), "registry.test:5000")
    require(len(scopes) <= 16, "a token is bounded")
    require(all(scopes.values()), "a scope is for something")


def feed_token(data: bytes) -> None:
    tokens = BearerTokens(b"k" * 32, FakeClock(NOW))
    try:
        found = tokens.verify(text_of(data))
    except TokenExpiredError:
        raise BrokenContractError("who has not the key made a token that is over") from None
    require(found is None, "nobody makes a token who has not the key")


_KEY: Final = ec.derive_private_key(20_260_101, ec.SECP256R1())
_JWKS: Final = json.dumps(
    {"keys": [json.loads(ECAlgorithm.to_jwk(_KEY.public_key())) | {"kid": "k", "alg": "ES256", "use": "sig"}]}
)
_PROVIDER: Final = OidcSettings(
    issuer="https://issuer.test", audience="registry", name="ci", principal="{sub}:{ref}", claims={"env": "prod*"}
)
_CLAIMS: Final = {
    "iss": "https://issuer.test",
    "aud": "registry",
    "sub": "a",
    "ref": "b",
    "env": "prod",
    "exp": NOW + 60,
}


class _Keys:
    """The provider's keys, as if they had been fetched."""

    def __init__(self) -> None:
        self.keys = KeySet.parse(_JWKS.encode())

    async def find(self, key_id: str | None, algorithm: str) -> Any:  # noqa: ANN401 - as the keyring
        found = self.keys.find(key_id, algorithm)
        if found is None:
            raise AssertionRefusedError("no such key")
        return found


async def _verified(token: str) -> Principal:
    assertions = OidcAssertions([_PROVIDER], FakeClock(NOW), _METRICS)
    [[(_, demands)]] = assertions._issuers.values()  # noqa: SLF001 - the keys are not to be asked for over a network
    assertions._issuers = {_PROVIDER.issuer: [(_Keys(), demands)]}  # type: ignore[list-item] # noqa: SLF001 - see above
    return await assertions.verify(token)


_METRICS: Final = Metrics()


def _verify(token: str) -> None:
    try:
        principal = run(_verified(token))
    except AssertionRefusedError as error:
        require(len(str(error)) < 1000, "a refusal repeats nothing")
    else:
        require(principal.startswith("ci:"), "a principal is the provider's")
        require(principal.isprintable() and " " not in principal, "a principal is one word")


def feed_jwt(data: bytes) -> None:
    """Read any text as a token."""
    text = text_of(data)
    with suppress(AssertionRefusedError):
        read_token(text)
    _verify(text)


def feed_claims(data: bytes) -> None:
    """Read a token whose provider signed this as its claims."""
    _verify(jwt.PyJWS().encode(data, _KEY, "ES256", headers={"kid": "k"}))


def feed_jwks(data: bytes) -> None:
    with suppress(UnusableKeysError):
        require(KeySet.parse(data).keys, "a set of keys has some")


def _examine(sent: Sent) -> None:
    signatures = Signatures(KnownKeys(ANN), FakeClock(NOW), "us-east-1", "https://registry.public")
    try:
        signed = signatures.examine(sent.received(origin="https://registry.proxy"), "ecr")
        if signed is not None:
            signed.verify(sent.body)
    except ApiError as error:
        require(error.code in REFUSALS, "a signature is refused as AWS does")
        require(ANN.secret not in f"{error.message}{error.debug}", "a secret is not shown")


def feed_signed_header(data: bytes) -> None:
    """Read the fields of a request, a line each."""
    sent = Sent(headers=CIMultiDict({"Host": "registry.test"}))
    for line in data.decode("utf-8", "replace").split("\n")[:64]:
        name, _, value = line.partition(":")
        if _NAME.fullmatch(name) is not None:  # no others pass the parser of requests
            sent.headers.add(name, value.strip())
    _examine(sent)


def feed_signed_query(data: bytes) -> None:
    query = data.decode("utf-8", "replace").replace("#", "")
    _examine(Sent("GET", f"/?{query}", CIMultiDict({"Host": "registry.test"})))


def feed_password_file(data: bytes) -> None:
    _read_file(PASSWORD_FILE, text_of(data))


def feed_key_file(data: bytes) -> None:
    _read_file(KEY_FILE, text_of(data))


def _read_file(grammar: Any, text: str) -> None:  # noqa: ANN401 - of either kind of entry
    try:
        found = grammar.parse(text)
    except UnfitLineError as error:
        require(1 <= error.line <= text.count("\n") + 1, "the line at fault is one of the file")
        require("SECRET" not in str(error), "a line is not shown")
        return
    written = "\n".join(entry.line for entry in found.values())
    require(grammar.parse(written) == found, "what is written is what was read")


def feed_policy(data: bytes) -> None:
    for kind in PolicyKind:
        try:
            document = parse_policy(text_of(data), kind)
        except ApiError as error:
            require(len(error.message) < SIZE, "a refusal repeats little")
            continue
        for principal in ("", "alice"):
            evaluate(document, Request(Principal(principal), RegistryIdentity(), "ecr:BatchGetImage", ARN))


def feed_json(data: bytes) -> None:
    try:
        check_json(data)
    except JsonError:
        return
    with suppress(msgspec.MsgspecError):  # numbers beyond all, or another shape than what is read
        msgspec.json.decode(data)


_CALL: Final = Signer().call(f"{ECR}.ListImages", b"", NOW)
_FIELDS: Final = "\n".join(f"{name}: {value}" for name, value in _CALL.headers.items()).encode()
# A year of one digit, where a date is written again in another length.
_FIRST: Final = (
    b"X-Amz-Date: 00010101T000000Z\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIAANN0000000000/10101T00/us-east-1/"
    b"ecr/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + b"a" * 64
)
_QUERY: Final = Signer().presign("/?Action=GetCallerIdentity", NOW).target.removeprefix("/?").encode()
_HASH: Final = "$2b$12$" + "." * 53
_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "a",
            "Effect": "Deny",
            "Principal": {"AWS": ["arn:aws:iam::000000000000:user/alice", "*"]},
            "Action": ["ecr:*", "ecr:Batch?etImage"],
            "Condition": {"StringLike": {"aws:username": "al*"}, "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        }
    ],
}

TARGETS: Final[Mapping[str, Target]] = {
    "challenge": Target(
        feed_challenge,
        (
            b'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a:pull"',
            b'Basic realm="a\\"b", Bearer realm=x, error=insufficient_scope',
            b"Negotiate abc==\nBearer",
        ),
    ),
    "authorization": Target(
        feed_authorization,
        (b"Basic dXNlcjpwYXNzd29yZA==", b"Bearer abc.def-_~+/=", b"Basic =\nBearer a", b"AWS4-HMAC-SHA256 a"),
    ),
    "range": Target(
        feed_range, (b"bytes=0-", b"bytes=-5", b"bytes=5-1", b"bytes=0-0,2-3", b"bytes=99999999999999999999-")
    ),
    "path": Target(
        feed_path,
        (
            f"/v2/team/app/manifests/sha256:{HEX}".encode(),
            b"/docker-hub/v2/a/blobs/uploads/s",
            b"/v2/a/tags/list?n=1",
            b"http://host/v2/_catalog",
            b"/%2F%2F%2F..%2F..%2Fetc%2Fpasswd",
            f"/v2/a/referrers/sha256%3A{HEX}".encode(),
        ),
    ),
    "reference": Target(
        feed_reference, (b"team/app", b"v1.0", f"sha256:{HEX}".encode(), b"sha512:../../x", b"a__b--c")
    ),
    "page": Target(feed_page, (b"100&last", b"-1&", b"1e100&", "\N{ARABIC-INDIC DIGIT ONE}&\0".encode())),
    "scope": Target(
        feed_scope,
        (
            b"repository:team/app:pull,push",
            b"repository(plugin):registry.test:5000/a:*&registry:catalog:*",
            b"repository:a:pull repository:b:delete",
        ),
    ),
    "token": Target(feed_token, (b"eyJzdWIiOiJhIn0.c2ln", b"e30.", b".")),
    "jwt": Target(
        feed_jwt,
        (
            jwt.PyJWS().encode(json.dumps(_CLAIMS).encode(), _KEY, "ES256", headers={"kid": "k"}).encode(),
            b"..",
            b"a.b.c",
        ),
    ),
    "claims": Target(feed_claims, (json.dumps(_CLAIMS).encode(), b'{"exp":1e999}', b'{"aud":["registry"],"nbf":"1"}')),
    "jwks": Target(
        feed_jwks,
        (
            _JWKS.encode(),
            b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}',
            b'{"keys":[{"kty":"OKP","crv":"Ed25519","x":""}]}',
        ),
    ),
    "signed-header": Target(feed_signed_header, (_FIELDS, _FIRST)),
    "signed-query": Target(feed_signed_query, (_QUERY,)),
    "password-file": Target(
        feed_password_file, (f"alice:{_HASH}\n# comment\n\nbob:{_HASH}\r\n".encode(), b"alice:SECRET")
    ),
    "key-file": Target(feed_key_file, (b"AKIAANN0000000000 the-secret-of-ann ann\n", b"A SECRET b")),
    "policy": Target(
        feed_policy, (json.dumps(_POLICY).encode(), b'{"Statement":{"Effect":"Allow","Principal":"*","Action":"*"}}')
    ),
    "json": Target(feed_json, (b'{"a":[1,2.5e3,"\\u00e9",null,true]}', b"[[[[[[]]]]]]", b'{"a":1,"a":2}')),
}
