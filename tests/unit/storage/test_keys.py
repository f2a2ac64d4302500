"""Keys of the store, and what is sealed with them."""

import base64
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.registry.secrets.ports import UnsealableError
from proxy.storage.errors import StoreUnusableError
from proxy.storage.keys import KeyUnusableError, load_or_make_keys, parse_keys
from proxy.storage.layout import Layout
from proxy.storage.sealing import AesGcmSealer

KEY, OTHER = bytes(range(32)), b"o" * 32


def encoded(*keys: bytes) -> str:
    return "".join(base64.b64encode(key).decode() + "\n" for key in keys)


class TestFile:
    @pytest.fixture
    def layout(self, tmp_path: Path) -> Layout:
        return Layout(tmp_path / "data")

    def test_a_key_is_made_once_for_this_user_only(self, layout: Layout) -> None:
        (key,) = load_or_make_keys(layout, "secrets")
        path = layout.root / "keys" / "secrets.key"
        assert len(key) == 32
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert os.listdir(path.parent) == ["secrets.key"]  # noqa: PTH208 - names are what is shown
        assert load_or_make_keys(layout, "secrets") == (key,)
        assert load_or_make_keys(layout, "other") != (key,)

    def test_it_is_for_this_user_only_whatever_the_umask(self, layout: Layout) -> None:
        before = os.umask(0)
        try:
            load_or_make_keys(layout, "secrets")
        finally:
            os.umask(before)
        assert layout.key("secrets").stat().st_mode & 0o777 == 0o600

    def test_what_a_killed_process_left_is_replaced(self, layout: Layout) -> None:
        layout.key("secrets").parent.mkdir(parents=True)
        layout.key("secrets").with_suffix(".new").write_text("half a k")
        (key,) = load_or_make_keys(layout, "secrets")
        assert parse_keys(layout.key("secrets").read_text()) == (key,)
        assert not layout.key("secrets").with_suffix(".new").exists()

    def test_processes_that_start_together_get_the_same_key(self, layout: Layout, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib\n"
            "from proxy.storage.keys import load_or_make_keys\n"
            "from proxy.storage.layout import Layout\n"
            "sys.stdin.readline()\n"
            "sys.stdout.write(load_or_make_keys(Layout(pathlib.Path(sys.argv[1])), 'secrets')[0].hex())\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(layout.root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
            )
            for _ in range(4)
        ]
        try:
            for each in running:
                assert each.stdin is not None
                each.stdin.write("go\n")
                each.stdin.flush()
            told = [each.communicate(timeout=60)[0].strip().splitlines()[-1] for each in running]
        finally:
            for each in running:
                if each.poll() is None:
                    each.send_signal(signal.SIGKILL)
                    each.wait()
        assert tmp_path in layout.root.parents
        assert {line[-64:] for line in told} == {load_or_make_keys(layout, "secrets")[0].hex()}

    def test_a_key_that_others_may_read_is_told_to_the_log(self, layout: Layout) -> None:
        key = load_or_make_keys(layout, "secrets")
        layout.key("secrets").chmod(0o644)
        with capture_logs() as events:
            assert load_or_make_keys(layout, "secrets") == key
        assert [(event["event"], event["log_level"]) for event in events] == [("key.readable_by_others", "warning")]

    @pytest.mark.parametrize("text", ["", "short", "x" * 44, encoded(b"k" * 31), "ü" * 44])
    def test_a_file_that_holds_no_key_is_named_and_never_replaced(self, layout: Layout, text: str) -> None:
        layout.key("secrets").parent.mkdir(parents=True)
        layout.key("secrets").write_text(text)
        with pytest.raises(StoreUnusableError) as caught:
            load_or_make_keys(layout, "secrets")
        assert str(layout.key("secrets")) in str(caught.value)
        assert not text or text not in str(caught.value)
        assert layout.key("secrets").read_text() == text

    def test_a_store_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file")
        with pytest.raises(StoreUnusableError, match=r"storage\.path"):
            load_or_make_keys(Layout(tmp_path / "data"), "secrets")


class TestKeys:
    def test_each_line_is_a_key_the_first_one_first(self) -> None:
        assert parse_keys(encoded(KEY, OTHER)) == (KEY, OTHER)
        assert parse_keys(f"  {encoded(KEY)}\r\n\n{encoded(OTHER)}") == (KEY, OTHER)

    def test_the_alphabet_of_urls_is_read_too(self) -> None:
        key = b"\xff\xef\xfe" * 10 + b"ab"
        assert parse_keys(base64.urlsafe_b64encode(key).decode()) == (key,)

    @pytest.mark.parametrize("text", ["", " \n", "correct horse battery staple", encoded(KEY) + "x", encoded(b"short")])
    def test_anything_else_is_no_key_and_is_not_repeated(self, text: str) -> None:
        with pytest.raises(KeyUnusableError) as caught:
            parse_keys(text)
        assert "openssl rand -base64 32" in str(caught.value)
        assert "horse" not in str(caught.value)


class TestSealing:
    def test_what_is_sealed_opens_for_its_purpose_only(self) -> None:
        sealer = AesGcmSealer([KEY])
        for plain in (b"", b"hidden", b"x" * 65536):
            sealed = sealer.seal(plain, "a")
            assert sealer.open(sealed, "a") == plain
            assert len(plain) < 6 or plain not in sealed
            with pytest.raises(UnsealableError):
                sealer.open(sealed, "b")

    def test_nothing_is_sealed_alike_twice(self) -> None:
        sealer = AesGcmSealer([KEY])
        assert len({sealer.seal(b"same", "a") for _ in range(100)}) == 100

    def test_a_new_key_seals_and_the_old_one_still_opens(self) -> None:
        old = AesGcmSealer([KEY]).seal(b"old", "a")
        both = AesGcmSealer([OTHER, KEY])
        assert both.open(old, "a") == b"old"
        new = both.seal(b"new", "a")
        assert AesGcmSealer([OTHER]).open(new, "a") == b"new"
        for sealer, sealed in ((AesGcmSealer([OTHER]), old), (AesGcmSealer([KEY]), new)):
            with pytest.raises(UnsealableError):
                sealer.open(sealed, "a")

    @pytest.mark.parametrize("position", [0, 1, 12, 13, -1])
    def test_what_was_altered_does_not_open(self, position: int) -> None:
        sealer = AesGcmSealer([KEY])
        sealed = bytearray(sealer.seal(b"hidden", "a"))
        sealed[position] ^= 1
        with pytest.raises(UnsealableError):
            sealer.open(bytes(sealed), "a")

    @pytest.mark.parametrize("length", [0, 1, 5, 13, 20, 34])
    def test_what_was_cut_short_does_not_open(self, length: int) -> None:
        sealer = AesGcmSealer([KEY])
        with pytest.raises(UnsealableError):
            sealer.open(sealer.seal(b"hidden", "a")[:length], "a")

    def test_there_is_no_sealing_without_a_key(self) -> None:
        with pytest.raises(ValueError, match="key"):
            AesGcmSealer([])
