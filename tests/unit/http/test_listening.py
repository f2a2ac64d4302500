"""How connections with TLS are made."""

import sys

import aiofastnet
import pytest

from proxy.http.listening import connect_by_loop, fastest_connect


def test_the_package_of_the_extra_is_used_where_it_is_installed() -> None:
    assert fastest_connect("auto") is aiofastnet.connect_accepted_socket


def test_the_package_can_be_switched_off() -> None:
    assert fastest_connect("off") is connect_by_loop


def test_without_the_package_the_loop_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiofastnet", None)
    assert fastest_connect("auto") is connect_by_loop
