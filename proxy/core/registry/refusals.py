"""What callers of the API are told where images and layers are refused alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from proxy.core.rules import Resolution
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError

_OUR_OWN: Final = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.STORAGE_FULL, ErrorCode.UNKNOWN})
"""What says nothing of an upstream."""


def digest_given(member: str, text: str) -> Digest:
    """Return the digest in a member of a request; `ApiError` InvalidParameterException where it is none."""
    try:
        return Digest.parse(text)
    except ProxyError as error:
        raise invalid(member, error.message) from error


@contextmanager
def blaming_upstream(resolution: Resolution, code: ApiErrorCode) -> Iterator[None]:
    """Raise `ApiError` of that code for what fails inside, where it is an upstream that fails.

    So it is in a cache repository, but for failures of this registry's own; any other `ProxyError` passes.
    """
    try:
        yield
    except ProxyError as error:
        if resolution.remote is None or error.code in _OUR_OWN:
            raise
        raise ApiError(code, f"{code.message} {error.message}", debug=error.debug) from error
