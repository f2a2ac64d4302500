"""The log of requests: its lines are those that structlog's pipeline makes of the same event, secrets masked."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.telemetry.logging import REQUEST_ID, configure_logging
from proxy.telemetry.redaction import redact
from proxy.telemetry.request_log import Answered, EventRequestLog, Level, LineRequestLog

TIME = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HEAD = ["timestamp", "level", "event"]


def answered(level: Level = "info", **fields: object) -> Answered:
    told: dict[str, Any] = {
        "method": "GET",
        "kind": "manifest",
        "principal": None,
        "name": "team/app",
        "reference": "latest",
        "ns": None,
        "rule": None,
        "cache": "hit",
        "status": 200,
        "bytes": 7,
        "received": 0,
        "ms": 0.31,
        "ttfb_ms": 0.25,
        "error": None,
        "debug": None,
        "broken": None,
        "client": "127.0.0.1",
        "user_agent": "containerd/2.1",
        "request_id": "r-1",
    }
    return Answered(timestamp=TIME, level=level, event="request.answered", **told | fields)


def line(event: Answered) -> bytes:
    written: list[bytes] = []
    LineRequestLog(lambda _: True, written.append).answered(event)
    [one] = written
    return one


@pytest.fixture
def _logging() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = before
    REQUEST_ID.set(None)


def test_a_line_has_every_member_in_order_and_null_for_what_is_not_known() -> None:
    told = json.loads(line(answered()))
    assert list(told) == list(Answered.__struct_fields__)
    assert list(told)[:3] == HEAD
    assert (told["timestamp"], told["ns"], told["ms"]) == ("2026-01-02T03:04:05.678901Z", None, 0.31)


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user_agent": "docker/27.0 (linux; amd64)"},
        {"user_agent": "bot (+https://u:hunter2@bot.example/?key=hunter2)"},
        {"user_agent": 'a"b\\c\n\x1b[2J\u2028', "client": "2001:db8::1"},
        {"debug": "upstream said: Authorization: Bearer hunter2", "error": "UNKNOWN", "status": 500},
        {"request_id": "authorization=hunter2"},
        {"principal": "gitlab:https://hunter2@host", "reference": "Basic:aHVudGVyMg==", "ns": "ghcr.io"},
    ],
)
def test_both_logs_say_the_same(capsys: pytest.CaptureFixture[str], fields: dict[str, Any]) -> None:
    control = configure_logging("info", "json")
    assert isinstance(control.request_log, LineRequestLog)
    for log in (control.request_log, EventRequestLog()):
        log.answered(answered(**fields))
    first, second = (json.loads(text) for text in capsys.readouterr().err.strip().split("\n"))
    assert list(first)[:3] == list(second)[:3] == HEAD
    first.pop("timestamp")
    second.pop("timestamp")
    assert first == second
    assert "hunter2" not in str(first)


@pytest.mark.usefixtures("_logging")
def test_people_get_it_by_the_renderer_that_they_get_everything_by(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console").request_log.answered(answered(user_agent="a\nb"))
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "request.answered" in err


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("output", ["json", "console"])
def test_the_level_counts_and_changes_in_place(capsys: pytest.CaptureFixture[str], output: str) -> None:
    control = configure_logging("info", output)
    control.request_log.answered(answered("debug", name="team/first"))
    control.request_log.answered(answered("info", name="team/second"))
    control.set_level("warning")
    control.request_log.answered(answered("info", name="team/third"))
    control.set_level("debug")
    control.request_log.answered(answered("debug", name="team/fourth"))
    err = capsys.readouterr().err
    assert [name for name in ("first", "second", "third", "fourth") if name in err] == ["second", "fourth"]


def test_events_have_the_level_as_their_own() -> None:
    with capture_logs() as logs:
        EventRequestLog().answered(answered("debug"))
    [event] = logs
    assert (event["log_level"], event["event"], event["status"]) == ("debug", "request.answered", 200)
    assert not {"timestamp", "level"} & set(event)


def test_bytes_that_are_no_utf8_are_shown_as_escapes() -> None:
    told = json.loads(line(answered(user_agent=b"a\xe9b".decode(errors="surrogateescape"), client="\u00e9")))
    assert (told["user_agent"], told["client"]) == ("a\\udce9b", "\u00e9")


FREE = ("principal", "reference", "ns", "debug", "client", "user_agent", "request_id")
SECRETS = st.sampled_from(
    ["Basic aHVudGVyMg==", "bearer hunter2", "https://u:p@h", "http://h/?a=b", "Authorization: x", "AUTHORIZATION=y"]
)
TEXTS = st.lists(st.text(st.characters(), max_size=8) | SECRETS, max_size=4).map(" ".join)


@given(st.fixed_dictionaries(dict.fromkeys(FREE, TEXTS)))
def test_whatever_clients_send_is_masked_as_in_all_other_events(fields: dict[str, str]) -> None:
    event = answered("info", **fields)
    expected = dict(redact(None, "", msgspec.structs.asdict(event) | {"timestamp": None}))
    assert json.loads(line(event)) | {"timestamp": None} == expected


def test_no_member_has_a_name_that_stands_for_a_secret() -> None:
    event = dict.fromkeys(Answered.__struct_fields__, "value")
    assert redact(None, "", dict(event)) == event
