"""Real clients with stores of their own: dockerd, containerd, podman, skopeo, buildah and ORAS.

Each is configured by the very files that the project hands to its users (``deploy/clients``), in which only the
ports are replaced. `pull` and `push` return the digest that the client took the reference for.
"""

import base64
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from oras.client import OrasClient  # type: ignore[import-untyped] # it comes without types
from oras.oci import Subject  # type: ignore[import-untyped] # as above

from tests.support.parts import Toolbox
from tests.support.processes import Process, run

SHIPPED = Path(__file__).parents[2] / "deploy" / "clients"

# What containers/image needs before it pulls anything; a machine with podman installed has it in /etc/containers.
_ACCEPT_ANYTHING = {"default": [{"type": "insecureAcceptAnything"}]}


def shipped(name: str, *, port: int, mirror: int) -> str:
    """Return a file of ``deploy/clients`` with the ports of a running proxy in place of 5000 and 5001."""
    ports = {"5000": str(port), "5001": str(mirror)}
    return re.sub(r"(?<=:)500[01]\b", lambda found: ports[found[0]], (SHIPPED / name).read_text())


class Docker:
    """A docker daemon with its own containerd and an empty store, and the command line that speaks to it."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, configuration: str = "{}") -> None:
        folder.mkdir(parents=True)
        (folder / "daemon.json").write_text(configuration)
        self._client = folder / "client"
        self._client.mkdir()
        # Sockets have short names (108 bytes, unix(7)); the folders of tests do not.
        self._run_folder = TemporaryDirectory(prefix="docker")
        self._socket = Path(self._run_folder.name) / "docker.sock"
        self._environment = toolbox.environment(DOCKER_CONFIG=str(self._client))
        self._docker = toolbox.program("docker")
        self._daemon = Process(
            [
                toolbox.program("dockerd"),
                f"--config-file={folder / 'daemon.json'}",
                f"--data-root={folder / 'data'}",
                f"--exec-root={self._run_folder.name}/exec",
                f"--host=unix://{self._socket}",
                f"--pidfile={folder / 'pid'}",
                "--storage-driver=vfs",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ],
            folder / "log",
            environment=self._environment,
        )

    def environment(self) -> dict[str, str]:
        """Return what makes the `docker` of a shell the command line of this daemon."""
        path = f"{Path(self._docker).parent}:{os.environ['PATH']}"
        return {**self._environment, "PATH": path, "DOCKER_HOST": f"unix://{self._socket}"}

    def pull(self, reference: str) -> str:
        said = self._run("pull", reference)
        found = re.search(r"^Digest: (sha256:[0-9a-f]{64})$", said, re.MULTILINE)
        assert found is not None, said
        return found[1]

    def push(self, reference: str) -> str:
        said = self._run("push", reference)
        found = re.search(r"^\S+: digest: (sha256:[0-9a-f]{64}) size: \d+$", said, re.MULTILINE)
        assert found is not None, said
        return found[1]

    def load(self, archive: Path) -> None:
        """Take the images of an archive into the store."""
        self._run("load", f"--input={archive}")

    def tag(self, source: str, target: str) -> None:
        self._run("tag", source, target)

    def remove(self, *references: str) -> None:
        """Remove names; with the last name of an image, its layers."""
        self._run("rmi", "--force", *references)

    def output_of(self, reference: str, *arguments: str) -> str:
        """Return what a container of the image prints."""
        created = self._run("create", "--network=none", reference, *arguments).strip()
        return self._run("start", "--attach", created)

    def image_id(self, reference: str) -> str:
        """Return the digest of the image's configuration; by it the daemon verified every layer it unpacked."""
        return self._run("image", "inspect", "--format={{.Id}}", reference).strip()

    def log_in(self, registry: str, user: str, password: str) -> str:
        """Have the daemon try the password, and keep it for later commands if it is good; return what docker says."""
        return self._run("login", f"--username={user}", "--password-stdin", registry, given=password)

    def log_out(self, registry: str) -> None:
        self._run("logout", registry)

    def remember(self, registry: str, user: str, password: str) -> None:
        """Keep a password that nobody tries, as if an earlier login had kept it."""
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        (self._client / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))

    def _run(self, *arguments: str, given: str | None = None) -> str:
        command = [self._docker, f"--host=unix://{self._socket}", *arguments]
        return run(command, environment=self._environment, given=given)

    def __enter__(self) -> Self:
        self._daemon.wait_until(lambda: "API listen on" in self._daemon.output(), "its API listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._run_folder.cleanup()


class Containerd:
    """A containerd with an empty store, and ``ctr``, which reads `hosts` for docker.io."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, hosts: str) -> None:
        certificates = folder / "certs.d"
        (certificates / "docker.io").mkdir(parents=True)
        (certificates / "docker.io" / "hosts.toml").write_text(hosts)
        self._certificates = certificates
        self._run_folder = TemporaryDirectory(prefix="containerd")
        self._socket = Path(self._run_folder.name) / "containerd.sock"
        configuration = folder / "config.toml"
        configuration.write_text(
            f"""
            version = 2
            root = "{folder / "root"}"
            state = "{self._run_folder.name}/state"
            disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
            [grpc]
            address = "{self._socket}"
            [ttrpc]
            address = "{self._socket}.ttrpc"
            """
        )
        self._environment = toolbox.environment()
        self._ctr = toolbox.program("ctr")
        self._daemon = Process(
            [toolbox.program("containerd"), f"--config={configuration}"], folder / "log", environment=self._environment
        )

    def pull(self, reference: str, *options: str) -> str:
        self._run("images", "pull", "--snapshotter=native", f"--hosts-dir={self._certificates}", *options, reference)
        listed = self._run("images", "ls", f"name=={reference}")
        found = re.search(r"sha256:[0-9a-f]{64}", listed)
        assert found is not None, listed
        return found[0]

    def _run(self, *arguments: str) -> str:
        return run(
            [self._ctr, f"--address={self._socket}", "--namespace=tests", *arguments], environment=self._environment
        )

    def __enter__(self) -> Self:
        self._daemon.wait_until(self._socket.exists, "its socket exists")
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.stop()
        self._run_folder.cleanup()


class Podman:
    """Podman with an empty store, reading `registries` as its registries.conf."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, registries: str) -> None:
        self._folder = folder
        self._environment = _own_store(toolbox, folder, registries)
        self._podman = [
            toolbox.program("podman"),
            f"--root={folder / 'root'}",
            f"--runroot={folder / 'run'}",
            f"--tmpdir={folder / 'tmp'}",
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]

    def pull(self, reference: str, *options: str) -> str:
        pulled = self._run("pull", "--quiet", *options, reference).strip()
        return self._run("image", "inspect", "--format={{.Digest}}", pulled).strip()

    def push(self, source: str, reference: str, *options: str) -> str:
        said = self._folder / "digest"
        self._run("push", *options, f"--digestfile={said}", "--tls-verify=false", source, f"docker://{reference}")
        return said.read_text()

    def load(self, archive: Path) -> None:
        """Take the images of an archive into the store."""
        self._run("load", f"--input={archive}")

    def image_id(self, reference: str) -> str:
        """Return the digest of the image's configuration."""
        return f"sha256:{self._run('image', 'inspect', '--format={{.Id}}', reference).strip()}"

    def remove_all(self) -> None:
        self._run("rmi", "--all", "--force")

    def log_in(self, registry: str, user: str, password: str) -> str:
        """Try the password at a registry without TLS, and keep it if it is good; return what podman says."""
        options = [f"--username={user}", "--password-stdin", "--tls-verify=false"]
        return self._run("login", *options, registry, given=password)

    def _run(self, *arguments: str, given: str | None = None) -> str:
        return run([*self._podman, *arguments], environment=self._environment, given=given)


class Skopeo:
    """Skopeo, reading `registries` as its registries.conf."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, registries: str) -> None:
        folder.mkdir(parents=True)
        (folder / "registries.conf").write_text(registries)
        (folder / "policy.json").write_text(json.dumps(_ACCEPT_ANYTHING))
        (folder / "auth.json").write_text("{}")
        self._folder = folder
        # What blobs are where, skopeo keeps for root under /var, unless it takes itself for another user's.
        own_cache = {"_CONTAINERS_ROOTLESS_UID": "1", "XDG_DATA_HOME": str(folder / "data")}
        self._environment = toolbox.environment(
            REGISTRY_AUTH_FILE=str(folder / "auth.json"), TMPDIR=str(folder), **own_cache
        )
        self._skopeo = [
            toolbox.program("skopeo"),
            f"--policy={folder / 'policy.json'}",
            f"--registries-conf={folder / 'registries.conf'}",
            f"--registries.d={folder / 'registries.d'}",
        ]

    def digest(self, reference: str, *options: str) -> str:
        """Return the digest that ``skopeo inspect`` shows."""
        digest: str = json.loads(self._run("inspect", *options, f"docker://{reference}"))["Digest"]
        return digest

    def copy(self, reference: str, name: str, *options: str) -> dict[str, bytes]:
        """Copy the image with all its architectures into a new folder; return its files by digest or name."""
        target = self._folder / name
        self._run("copy", "--all", "--preserve-digests", *options, f"docker://{reference}", f"dir:{target}")
        return {file.name: file.read_bytes() for file in target.iterdir()}

    def push(self, source: str, reference: str, *options: str) -> str:
        """Copy what `source` names (``oci:…``, ``dir:…``, ``docker://…``) to a registry without TLS."""
        said = self._folder / "digest"
        self._run("copy", *options, f"--digestfile={said}", "--dest-tls-verify=false", source, f"docker://{reference}")
        return said.read_text()

    def log_in(self, registry: str, user: str, password: str) -> str:
        """Try the password at a registry without TLS, and keep it if it is good; return what skopeo says."""
        options = [f"--username={user}", "--password-stdin", "--tls-verify=false"]
        command = [self._skopeo[0], "login", *options, registry]
        return run(command, environment=self._environment, given=password)

    def _run(self, *arguments: str) -> str:
        return run([*self._skopeo, *arguments], environment=self._environment)


class Buildah:
    """Buildah with an empty store. It starts no containers: images are built from nothing."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, registries: str) -> None:
        self._folder = folder
        self._environment = {**_own_store(toolbox, folder, registries), "BUILDAH_ISOLATION": "chroot"}
        self._buildah = [
            toolbox.program("buildah"),
            f"--root={folder / 'root'}",
            f"--runroot={folder / 'run'}",
            "--storage-driver=vfs",
        ]

    def build(self, name: str, content: Path, *, architecture: str) -> None:
        """Make an image of one file."""
        container = self._run("from", "scratch").strip()
        self._run("config", f"--arch={architecture}", "--os=linux", container)
        self._run("copy", container, str(content), "/")
        self._run("commit", "--quiet", "--rm", container, name)

    def push_index(self, names: Sequence[str], reference: str) -> str:
        """Push an index of images with all of them."""
        said = self._folder / "digest"
        self._run("manifest", "create", "list", *names)
        options = ["--all", f"--digestfile={said}", "--tls-verify=false"]
        self._run("manifest", "push", *options, "list", f"docker://{reference}")
        return said.read_text()

    def _run(self, *arguments: str) -> str:
        return run([*self._buildah, *arguments], environment=self._environment)


class Oras:
    """ORAS: files as layers of artifacts, in a registry without TLS.

    `account` is user and password, shown with each request where `basic`, else for tokens. Once it has a token, this
    ORAS asks for no other one, not even to push where that one was to pull.
    """

    def __init__(self, address: str, account: tuple[str, str] | None = None, *, basic: bool = False) -> None:
        self._client = OrasClient(hostname=address, insecure=True, auth_backend="basic" if basic else "token")
        if account is not None:
            self._client.auth.set_basic_auth(*account)

    def push(
        self,
        reference: str,
        files: Mapping[Path, str],
        *,
        config: tuple[Path, str] | None = None,
        subject: tuple[str, str, int] | None = None,
        chunk: int | None = None,
    ) -> str:
        """Push `files` and `config` by their media types; attached to `subject`: media type, digest and size.

        With `chunk` every file goes in pieces of that size.
        """
        answer = self._client.push(
            reference,
            files=[f"{path}:{media_type}" for path, media_type in files.items()],
            manifest_config=None if config is None else f"{config[0]}:{config[1]}",
            subject=None if subject is None else Subject(*subject),
            disable_path_validation=True,
            do_chunked=chunk is not None,
            **({} if chunk is None else {"chunk_size": chunk}),
            quiet=True,
        )
        digest: str = answer.headers["Docker-Content-Digest"]
        return digest

    def pull(self, reference: str, folder: Path) -> dict[str, bytes]:
        """Return the files of an artifact by name."""
        files: list[str] = self._client.pull(reference, outdir=str(folder))
        return {Path(file).name: Path(file).read_bytes() for file in files}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.session.close()


def _own_store(toolbox: Toolbox, folder: Path, registries: str) -> dict[str, str]:
    """Write what containers/storage and containers/image read, all of it under `folder`; return the environment."""
    # Of a policy that is an option, not every command of these programs takes notice; of the home's, all do.
    at_home = folder / ".config" / "containers"
    at_home.mkdir(parents=True)
    (at_home / "policy.json").write_text(json.dumps(_ACCEPT_ANYTHING))
    (folder / "registries.conf").write_text(registries)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "root"}"\nrunroot = "{folder / "run"}"\n'
    )
    (folder / "containers.conf").write_text("")
    (folder / "auth.json").write_text("{}")
    return toolbox.environment(
        HOME=str(folder),
        CONTAINERS_REGISTRIES_CONF=str(folder / "registries.conf"),
        CONTAINERS_STORAGE_CONF=str(folder / "storage.conf"),
        CONTAINERS_CONF=str(folder / "containers.conf"),
        REGISTRY_AUTH_FILE=str(folder / "auth.json"),
        TMPDIR=str(folder),
    )
