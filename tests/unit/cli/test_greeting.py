"""What a person who starts the server on a terminal sees."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from proxy.cli.greeting import exposures, pull_command, show_greeting
from proxy.config.loader import parse_settings
from proxy.config.settings import Settings

HUB = "{prefix: hub, upstream: registry-1.docker.io}"


def shown(settings: Settings, *, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, color_system=None, width=100)
    addresses = [("registry", "http://127.0.0.1:5000"), ("mirror", "http://127.0.0.1:5001")]
    show_greeting(console, addresses, settings, settings.cache_rules())
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_greeting_tells_addresses_rules_a_command_and_what_is_open() -> None:
    text = shown(parse_settings(f"rules: [{HUB}, {{prefix: q, upstream: quay.io, offline: true}}]", {}), terminal=True)
    for part in (
        "registry  http://127.0.0.1:5000",
        "mirror    http://127.0.0.1:5001",
        "hub/  registry-1.docker.io  anonymous    5m",
        "q/    quay.io               anonymous    never: offline",
        "docker pull 127.0.0.1:5000/hub/library/alpine",
        "open to every user and program of this machine, without a password: to pull, to push, to delete,",
    ):
        assert part in text


def test_nobody_is_greeted_where_nobody_sits() -> None:
    assert shown(Settings(), terminal=False) == ""


@pytest.mark.parametrize(
    ("text", "url", "command"),
    [
        (f"rules: [{HUB}]", "http://127.0.0.1:5000", "docker pull 127.0.0.1:5000/hub/library/alpine"),
        (f"rules: [{HUB}]", "http://0.0.0.0:5000", "docker pull localhost:5000/hub/library/alpine"),
        (f"rules: [{HUB}]", "http://[::]:5000", "docker pull localhost:5000/hub/library/alpine"),
        (f"rules: [{HUB}]", "http://[::1]:5000", "docker pull [::1]:5000/hub/library/alpine"),
        ("rules: [{prefix: ROOT, upstream: registry-1.docker.io}]", "http://h:1", "docker pull h:1/library/alpine"),
        ("rules: [{prefix: q, upstream: quay.io}]", "http://127.0.0.1:1", "docker pull 127.0.0.1:1/q/NAME"),
        ("", "http://127.0.0.1:1", "docker pull 127.0.0.1:1/NAME"),
    ],
)
def test_the_command_can_be_copied(text: str, url: str, command: str) -> None:
    assert pull_command(url, parse_settings(text, {}).cache_rules()) == command


def test_what_is_open_names_credentials_and_plain_http() -> None:
    settings = parse_settings(
        "auth: none\nserver: {host: 0.0.0.0}\n"
        "rules: [{prefix: a, upstream: 'http://a.example', "
        "credentials: {username: u, password: {env: SECRET}}}, {prefix: b, upstream: b.example}]",
        {"SECRET": "x"},
    )
    assert list(exposures(settings, settings.cache_rules())) == [
        (
            "to everyone who reaches 0.0.0.0, without a password (auth: none): "
            "to pull, also with the credentials of a, to push, to delete, "
            "and to administer: rules, repositories, secrets."
        ),
        "on the wire: the rule a speaks plain http to a.example.",
    ]


def test_what_policies_grant_to_everyone_is_open_and_nothing_else(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.touch()
    settings = parse_settings(
        f"server: {{host: 0.0.0.0}}\nauth: {{htpasswd: '{users}', policies: ["
        "{principals: [anonymous, bob], actions: [pull, first_pull], repositories: [hub/**, q/*]},"
        "{principals: ['*'], actions: [push]}]}",
        {},
    )
    assert list(exposures(settings, ())) == [
        "to everyone who reaches 0.0.0.0, without a password (auth.policies): pull, first_pull of hub/**, q/*.",
        "on the wire: passwords come to 0.0.0.0 over plain http, unless a proxy before it speaks TLS.",
    ]
    assert list(exposures(parse_settings(f"auth: {{htpasswd: '{users}'}}", {}), ())) == []
