"""Downloads as impatient, parallel and unlucky clients make them, with the bytes compared as they come."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

_PIECE = 1 << 20


@dataclass(frozen=True)
class Download:
    """What became of a GET: `received` bytes of a body, `right` if they are the expected ones.

    `whole`: the body was as long as the headers announced. `status` is 0 if there was no answer at all.
    """

    status: int
    headers: Mapping[str, str]
    received: int
    right: bool
    whole: bool


def download(
    port: int, path: str, expected: bytes, *, headers: Mapping[str, str] | None = None, leave_after: int | None = None
) -> Download:
    """Get a path from 127.0.0.1 and compare it with `expected` as it comes; hang up after `leave_after` bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    received, right = 0, True
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
    except (http.client.HTTPException, OSError):
        connection.close()
        return Download(0, {}, 0, right=True, whole=False)
    length = int(answer.headers["Content-Length"])
    buffer = memoryview(bytearray(_PIECE))
    try:
        while leave_after is None or received < leave_after:
            wanted = len(buffer) if leave_after is None else min(len(buffer), leave_after - received)
            count = answer.readinto(buffer[:wanted])
            if count == 0:
                break
            right = right and expected.startswith(buffer[:count], received)
            received += count
    except (http.client.HTTPException, OSError):
        return Download(answer.status, dict(answer.headers), received, right, whole=False)
    finally:
        connection.close()
    return Download(answer.status, dict(answer.headers), received, right, whole=received == length)
