"""What is told of requests: events at their level, metrics that are whole when they are read."""

from collections.abc import Sequence

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from proxy.http.oci.paths import Kind
from proxy.http.reports import Reports
from proxy.http.trace import Trace
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.request_log import Answered


class Told:
    """The `RequestLog` that remembers."""

    def __init__(self) -> None:
        self.events: list[Answered] = []

    def answered(self, answered: Answered) -> None:
        self.events.append(answered)


def trace(**fields: object) -> Trace:
    made = Trace("r-1", 0.0, kind=Kind.MANIFEST, cache="hit")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


async def tell(
    method: str, response: web.StreamResponse, path: str = "/v2/", metrics: Metrics | None = None, **fields: object
) -> Answered:
    log = Told()
    await Reports(metrics or Metrics(), log).answered(make_mocked_request(method, path), trace(**fields), response)
    [event] = log.events
    return event


@pytest.mark.parametrize(
    ("method", "response", "sent"),
    [
        ("GET", web.Response(body=b"four"), 4),
        ("GET", web.Response(text="four"), 4),
        ("GET", web.Response(), 0),
        ("GET", web.StreamResponse(headers={"Content-Length": "9"}), 9),
        ("GET", web.Response(status=304, headers={"Content-Length": "9"}), 0),
        ("DELETE", web.Response(status=204), 0),
        ("HEAD", web.Response(headers={"Content-Length": "9"}), 0),
    ],
)
async def test_bytes_are_those_of_the_body_that_is_sent(method: str, response: web.StreamResponse, sent: int) -> None:
    assert (await tell(method, response)).bytes == sent


async def test_of_a_streamed_answer_the_bytes_that_were_sent_count() -> None:
    assert (await tell("GET", web.StreamResponse(headers={"Content-Length": "9"}), sent=3)).bytes == 3


@pytest.mark.parametrize(("path", "level"), [("/livez", "debug"), ("/readyz", "debug"), ("/v2/", "info")])
async def test_health_checks_are_for_debugging(path: str, level: str) -> None:
    assert (await tell("GET", web.Response(), path)).level == level


@pytest.mark.parametrize(("status", "told"), [(None, 499), (200, 200)])
async def test_a_client_that_left_is_told_as_such(status: int | None, told: int) -> None:
    log = Told()
    await Reports(Metrics(), log).left(make_mocked_request("GET", "/v2/"), trace(status=status, sent=5))
    assert [(event.status, event.bytes) for event in log.events] == [(told, 5)]


def read(metrics: Metrics, names: Sequence[str]) -> list[float | None]:
    labels = {"route": "manifest", "method": "GET", "status": "200", "cache": "hit"}
    return [
        metrics.registry.get_sample_value(name, labels if "requests" in name else {"flow": "client"}) for name in names
    ]


async def test_metrics_are_whole_whenever_they_are_read() -> None:
    metrics, names = Metrics(), ["pullthrough_requests_total", "pullthrough_bytes_total"]
    reports = Reports(metrics, Told())
    for count in (1, 2, 3):
        await reports.answered(make_mocked_request("GET", "/v2/"), trace(), web.Response(body=b"four"))
        assert read(metrics, names) == [count, 4 * count]
    assert read(metrics, names) == [3, 12]
    assert b'pullthrough_requests_total{cache="hit",method="GET",route="manifest",status="200"} 3.0' in metrics.render()


async def test_several_listeners_count_into_the_same_metrics() -> None:
    metrics = Metrics()
    for reports in (Reports(metrics, Told()), Reports(metrics, Told())):
        await reports.answered(make_mocked_request("GET", "/v2/"), trace(), web.Response())
    assert read(metrics, ["pullthrough_requests_total"]) == [2]
