"""S23: what stands open by default (oc-mirror CVE-2026-96577, Gitea CVE-2026-20896, Harbor CVE-2026-4404, Dragonfly
CVE-2025-59345): nothing that is not on this machine only, no password of anybody's, no proxy that is believed."""

import re
from pathlib import Path

import pytest

from proxy.config.faults import ConfigurationError
from proxy.config.loader import parse_settings

PROXY = Path(__file__).parents[3] / "proxy"


def test_s23_only_this_machine_is_answered() -> None:
    settings = parse_settings("", {})
    assert settings.server.host == "127.0.0.1"
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigurationError):
            parse_settings(f"server: {{host: '{host}'}}", {})


def test_s23_nobody_is_known_and_nothing_is_granted() -> None:
    assert parse_settings("", {}).auth is None


@pytest.mark.parametrize("networks", ["['*']", "[any]", "[all]", "['10.0.0.0/33']", "['']"])
def test_s23_no_proxy_is_believed_unless_it_is_named(networks: str) -> None:
    assert parse_settings("", {}).server.trusted_proxies == ()
    with pytest.raises(ConfigurationError):
        parse_settings(f"server: {{trusted_proxies: {networks}}}", {})


def test_s23_secrets_are_compared_in_constant_time() -> None:
    compared = re.compile(r"(?:signature|secret|password|hmac|mac)\)? [!=]= ")
    found = [
        f"{path.relative_to(PROXY)}: {line.strip()}"
        for path in PROXY.rglob("*.py")
        for line in path.read_text().splitlines()
        if compared.search(line)
    ]
    assert found == []
