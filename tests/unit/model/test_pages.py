"""Page parameters."""

import pytest

from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.pages import Page, parse_page


@pytest.mark.parametrize(
    ("n", "last", "page"),
    [
        (None, None, Page(None, "")),
        ("0", None, Page(0, "")),
        ("10000", "v1.2", Page(10000, "v1.2")),
        ("00007", "", Page(7, "")),
        (None, "library/nginx", Page(None, "library/nginx")),
    ],
)
def test_page_is_read(n: str | None, last: str | None, page: Page) -> None:
    assert parse_page(n, last) == page


@pytest.mark.parametrize(
    "n", ["", "-1", "+1", "1.0", "abc", "1e3", " 1", "10001", "2147483648", "9" * 5000, "\u0661", "0x10", "1_0"]
)
def test_page_size_outside_the_limits_is_refused(n: str) -> None:
    with pytest.raises(ProxyError) as raised:
        parse_page(n, None)
    assert raised.value.code is ErrorCode.PAGINATION_NUMBER_INVALID


@pytest.mark.parametrize("last", ["a" * 256, "\u00e9", "\ud800", "a\nb", "\x00"])
def test_last_that_could_stand_in_no_list_is_refused(last: str) -> None:
    with pytest.raises(ProxyError) as raised:
        parse_page("1", last)
    assert raised.value.code is ErrorCode.PAGINATION_NUMBER_INVALID
