"""Logs: one pipeline for our own events and those of libraries, JSON or for people, never a secret."""

import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from proxy.telemetry.logging import REQUEST_ID, configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    structlog.reset_defaults()
    REQUEST_ID.set(None)
    logging.captureWarnings(capture=False)
    root.handlers, root.level = before


def _fail(url: str) -> None:
    raise ConnectionError(url)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_an_event_is_one_json_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    REQUEST_ID.set("r1")
    structlog.get_logger("x").info("fill.done", size=3, ok=True, none=None, path="a\nb")
    (event,) = lines(capsys)
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event.pop("timestamp"))
    assert event == {
        "level": "info",
        "event": "fill.done",
        "size": 3,
        "ok": True,
        "none": None,
        "path": "a\nb",
        "request_id": "r1",
    }


def test_an_event_can_hold_what_is_no_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("a.b", user_agent=b"x\xe9y".decode(errors="surrogateescape"))
    logging.getLogger("library").warning("sent %s", "\udce9")
    first, second = lines(capsys)
    assert (first["user_agent"], second["event"]) == ("x\\udce9y", "sent \\udce9")


def test_an_event_tells_its_own_request_where_it_knows_one(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    REQUEST_ID.set("r1")
    structlog.get_logger("x").info("a.b", request_id="r2")
    logging.getLogger("library").warning("fine")
    assert [event["request_id"] for event in lines(capsys)] == ["r2", "r1"]


def test_auto_is_json_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "auto")
    structlog.get_logger("x").info("a.b")
    assert [event["event"] for event in lines(capsys)] == ["a.b"]


def test_less_severe_events_are_dropped_and_the_level_changes_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    control = configure_logging("warning", "json", permanent=True)
    log = structlog.get_logger("x")
    log.info("a.one")
    log.warning("a.two")
    control.set_level("debug")
    log.debug("a.three")
    control.set_level("error")
    log.warning("a.four")
    log.critical("a.five")
    assert [event["event"] for event in lines(capsys)] == ["a.two", "a.three", "a.five"]


def test_libraries_speak_through_the_same_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    logging.getLogger("aiohttp.server").error("Error handling %s", "Authorization: Basic dTpodW50ZXIy")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    (event,) = lines(capsys)
    assert event["logger"] == "aiohttp.server"
    assert event["level"] == "error"
    assert event["event"] == "Error handling Authorization: Basic ***"


def test_what_libraries_tell_at_debug_is_never_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    logging.getLogger("botocore.endpoint").debug("headers %s", {"x": "y"})
    logging.getLogger("alembic.runtime").info("Running upgrade")
    assert [event["event"] for event in lines(capsys)] == ["Running upgrade"]


def test_python_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (event,) = lines(capsys)
    assert (event["logger"], event["level"]) == ("py.warnings", "warning")


@pytest.mark.parametrize("output", ["json", "console"])
def test_secrets_never_pass(capsys: pytest.CaptureFixture[str], output: str) -> None:
    configure_logging("debug", output)
    log = structlog.get_logger("x")
    url = "https://user:hunter2@registry.example/v2/?X-Amz-Signature=hunter2"
    log.info(url, url=url, headers={"Authorization": "Bearer hunter2"}, password="hunter2", items=[url])
    logging.getLogger("library").warning("failed: %s", url, extra={"password": "hunter2"})
    try:
        _fail(url)
    except ConnectionError:
        log.exception("upstream.failed", error=ConnectionError(url))
        logging.getLogger("library").exception("failed")
    err = capsys.readouterr().err
    assert err.count("registry.example") >= 6
    assert "hunter2" not in err
    assert "ConnectionError: https://***@registry.example/v2/?***" in err


def test_on_a_terminal_a_name_cannot_forge_lines_or_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    structlog.get_logger("x").info("http.request", path="a\n12:00:00 [info] forged\x1b[2J\u2028")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "forged" in err
    assert not {"\x1b", "\u2028"}.intersection(err)


def test_a_record_that_cannot_be_written_does_not_break_what_it_tells_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", "json")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("library").warning("%d", "not a number")
    logging.getLogger("library").warning("fine")
    assert [event["event"] for event in lines(capsys)] == ["fine"]


async def test_logging_on_the_loop_is_no_blocking_call(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("a.b")
    logging.getLogger("library").warning("fine")
    assert len(lines(capsys)) == 2
