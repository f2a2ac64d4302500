import base64
import json
import stat
import sys
from pathlib import Path

import pytest

from proxy.model.credentials import CredentialHelper, DockerConfig, SecretSource, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.credential import Credential
from proxy.upstream.credentials import KeptHere, read_credential
from tests.support.upstream_rules import remote_of


async def read(source: KeptHere, upstream: str = "registry.example.com") -> Credential:
    return await read_credential(remote_of(upstream, credentials=source).rule, source)


async def refusal(source: KeptHere, upstream: str = "registry.example.com") -> str:
    with pytest.raises(UpstreamError) as caught:
        await read(source, upstream)
    assert caught.value.failure is UpstreamFailure.CREDENTIALS_REFUSED
    assert "rule up" in caught.value.message
    return caught.value.message


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for credential helpers, on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_helper(folder: Path, name: str, script: str) -> None:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!{sys.executable}\nimport sys, json\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def write_config(folder: Path, content: object) -> DockerConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return DockerConfig(path)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_credential_does_not_show_its_secret() -> None:
    assert "hunter2" not in repr(Credential("alice", "hunter2"))
    assert Credential("a", "b").fingerprint != Credential("a", "c").fingerprint


class TestUserPassword:
    async def test_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", "s:cret")
        assert await read(UserPassword("alice", SecretSource(env="TOKEN"))) == Credential("alice", "s:cret")

    async def test_from_a_file_without_its_newline(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(" s cret \r\n")
        assert await read(UserPassword("alice", SecretSource(file=path))) == Credential("alice", " s cret ")

    async def test_what_is_missing_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TOKEN", raising=False)
        assert "environment variable TOKEN" in await refusal(UserPassword("alice", SecretSource(env="TOKEN")))
        path = tmp_path / "absent"
        assert str(path) in await refusal(UserPassword("alice", SecretSource(file=path)))

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * (65 << 10)])
    async def test_a_file_that_holds_no_secret_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "secret"
        path.write_bytes(content)
        assert str(path) in await refusal(UserPassword("alice", SecretSource(file=path)))


class TestDockerConfig:
    @pytest.mark.parametrize(
        "key",
        [
            "registry.example.com",
            "https://registry.example.com",
            "http://registry.example.com/",
            "https://registry.example.com/v1/",
            "https://registry.example.com/v2/",
        ],
    )
    async def test_the_entry_is_found_by_every_usual_name(self, tmp_path: Path, key: str) -> None:
        config = write_config(tmp_path, {"auths": {key: {"auth": encoded("alice:s:cret")}}, "other": 1})
        assert await read(config) == Credential("alice", "s:cret")

    @pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
    async def test_docker_hub_goes_by_its_old_name(self, tmp_path: Path, key: str) -> None:
        config = write_config(tmp_path, {"auths": {key: {"auth": encoded("alice:pat")}}})
        assert await read(config, "registry-1.docker.io") == Credential("alice", "pat")

    async def test_the_port_belongs_to_the_name(self, tmp_path: Path) -> None:
        config = write_config(tmp_path, {"auths": {"localhost:5000": {"username": "a", "password": "b"}}})
        assert await read(config, "http://localhost:5000") == Credential("a", "b")
        assert "has no entry for localhost:5001" in await refusal(config, "http://localhost:5001")

    async def test_an_identity_token_is_told_from_a_password(self, tmp_path: Path) -> None:
        entry = {"auth": encoded("00000000-0000-0000-0000-000000000000:"), "identitytoken": "refresh"}
        credential = await read(write_config(tmp_path, {"auths": {"registry.example.com": entry}}))
        assert credential == Credential("00000000-0000-0000-0000-000000000000", "refresh", identity=True)

    @pytest.mark.parametrize("entry", [{}, {"auth": "%%%"}, {"auth": encoded("alice")}, {"auth": encoded("alice:")}])
    async def test_an_entry_without_a_secret_is_none(self, tmp_path: Path, entry: dict[str, str]) -> None:
        config = write_config(tmp_path, {"auths": {"registry.example.com": entry}})
        assert "no entry" in await refusal(config)

    @pytest.mark.parametrize("content", ["{", "[]", '{"auths": 7}'])
    async def test_a_file_that_is_no_config_is_named(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "config.json"
        path.write_text(content)
        assert "is not a Docker config.json" in await refusal(DockerConfig(path))

    async def test_helpers_go_before_the_store_and_the_store_before_the_file(
        self, tmp_path: Path, programs: Path
    ) -> None:
        write_helper(programs, "special", 'print(json.dumps({"Username": "special", "Secret": "s"}))')
        write_helper(programs, "store", 'print(json.dumps({"Username": "store", "Secret": "s"}))')
        auths = {"registry.example.com": {"auth": encoded("file:s")}, "b.example.com": {"auth": encoded("file:s")}}
        helpers = {"registry.example.com": "special"}
        config = write_config(tmp_path, {"auths": auths, "credsStore": "store", "credHelpers": helpers})
        assert await read(config) == Credential("special", "s")
        assert await read(config, "b.example.com") == Credential("store", "s")
        write_helper(programs, "store", 'print("credentials not found in native keychain"); sys.exit(1)')
        assert await read(config, "b.example.com") == Credential("file", "s")

    async def test_a_helper_must_not_be_a_path(self, tmp_path: Path) -> None:
        assert "may hold letters" in await refusal(write_config(tmp_path, {"credsStore": "/../../bin/sh"}))


class TestHelper:
    async def test_it_is_asked_for_the_server(self, programs: Path) -> None:
        write_helper(
            programs,
            "echo",
            'print(json.dumps({"Username": sys.argv[1], "Secret": sys.stdin.read(), "ServerURL": ""}))',
        )
        assert await read(CredentialHelper("echo")) == Credential("get", "registry.example.com")
        hub = await read(CredentialHelper("echo"), "registry-1.docker.io")
        assert hub == Credential("get", "https://index.docker.io/v1/")

    async def test_it_may_give_an_identity_token(self, programs: Path) -> None:
        write_helper(programs, "acr", 'print(json.dumps({"Username": "<token>", "Secret": "refresh"}))')
        assert await read(CredentialHelper("acr")) == Credential("<token>", "refresh", identity=True)

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ('print("credentials not found in native keychain"); sys.exit(1)', "has none for"),
            ('print("hunter2"); print("hunter2", file=sys.stderr); sys.exit(3)', "exit status 3"),
            ('print("hunter2")', "did not answer as a credential helper"),
            ('print("{}")', "has none for"),
        ],
    )
    async def test_its_failures_are_told_without_its_output(self, programs: Path, script: str, reason: str) -> None:
        write_helper(programs, "bad", script)
        message = await refusal(CredentialHelper("bad"))
        assert reason in message
        assert "hunter2" not in message

    @pytest.mark.usefixtures("programs")
    async def test_a_program_that_is_not_there_is_named(self) -> None:
        assert "docker-credential-absent cannot be run" in await refusal(CredentialHelper("absent"))
