"""The fields that every answer carries, and those that none does."""

from dataclasses import replace
from pathlib import Path

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from proxy.config.settings import MirrorSettings, ServerSettings, TlsSettings
from proxy.http.fields import constant_fields
from proxy.http.server import Server
from tests.unit.http.conftest import Stack
from tests.unit.http.raw import exchange

TLS = TlsSettings(certificate=Path("certificate.pem"), key=Path("key.pem"))
SECURE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def secure(headers: CIMultiDict[str]) -> bool:
    shared = any(name.lower().startswith("access-control-") for name in headers)
    return not shared and all(headers.getall(name, []) == [value] for name, value in SECURE.items())


@pytest.mark.parametrize(
    "head",
    [
        "GET /v2/",
        "HEAD /v2/",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
        "GET /nowhere",
        "GET /v2/a/manifests/1",
        "GET /v2/../a/manifests/1",
        "DELETE /v2/",
        "OPTIONS /v2/",
        "POST /v2/team/app/blobs/uploads/",
        "POST /",
        "GET /v2/_catalog?n=-1",
        "GET /v2/quay/a/tags/list",
    ],
)
async def test_every_answer_is_secured_whatever_it_is(stack: Stack, head: str) -> None:
    async with Server(stack.services, [MirrorSettings(port=0, rule="quay")]) as running:
        for address in (running.address, *running.mirror_addresses.values()):
            origin = "Origin: https://attacker.test\r\nAccess-Control-Request-Method: PUT\r\n"
            for host in ("localhost", "attacker.test"):
                assert secure((await exchange(address, head, host=host, fields=origin)).headers)


async def test_blobs_and_ranges_of_them_are_secured(stack: Stack) -> None:
    digest = stack.upstream.hold_blob(b"content")
    async with Server(stack.services) as running:
        for fields in ("", "Range: bytes=2-3\r\n", "Range: bytes=90-\r\n", f'If-None-Match: "{digest}"\r\n'):
            answer = await exchange(running.address, f"GET /v2/quay/a/blobs/{digest}", fields=fields)
            assert secure(answer.headers)


async def test_what_fails_inside_is_secured(stack: Stack) -> None:
    def fail() -> bool:
        raise RuntimeError

    async with Server(replace(stack.services, ready=fail)) as running:
        with capture_logs():
            answer = await exchange(running.address, "GET /readyz")
    assert answer.status == 500
    assert secure(answer.headers)


@pytest.mark.parametrize(
    ("tls", "public_url", "strict"),
    [
        (TLS, "https://registry.example.com", True),
        (TLS, "https://registry.example.com:5000", True),
        (TLS, None, False),
        (TLS, "http://registry.example.com", False),
        (None, "https://registry.example.com", False),
        (None, None, False),
    ],
)
def test_browsers_are_held_to_https_only_where_somebody_said_so(
    tls: TlsSettings | None, public_url: str | None, *, strict: bool
) -> None:
    fields = constant_fields(ServerSettings(tls=tls, public_url=public_url))
    assert fields.get("Strict-Transport-Security") == ("max-age=31536000" if strict else None)
