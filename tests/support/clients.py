"""Real clients with stores of their own: dockerd, containerd, podman and skopeo.

Each is configured by the very files that the project hands to its users (``deploy/clients``), in which only the
ports are replaced. `pull` returns the digest that the client took the reference for.
"""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

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
        (folder / "client").mkdir()
        # Sockets have short names (108 bytes, unix(7)); the folders of tests do not.
        self._run_folder = TemporaryDirectory(prefix="docker")
        self._socket = Path(self._run_folder.name) / "docker.sock"
        self._environment = toolbox.environment(DOCKER_CONFIG=str(folder / "client"))
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

    def output_of(self, reference: str, *arguments: str) -> str:
        """Return what a container of the image prints."""
        created = self._run("create", "--network=none", reference, *arguments).strip()
        return self._run("start", "--attach", created)

    def image_id(self, reference: str) -> str:
        """Return the digest of the image's configuration; by it the daemon verified every layer it unpacked."""
        return self._run("image", "inspect", "--format={{.Id}}", reference).strip()

    def _run(self, *arguments: str) -> str:
        return run([self._docker, f"--host=unix://{self._socket}", *arguments], environment=self._environment)

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

    def pull(self, reference: str) -> str:
        self._run("images", "pull", "--snapshotter=native", f"--hosts-dir={self._certificates}", reference)
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
        folder.mkdir(parents=True)
        (folder / "registries.conf").write_text(registries)
        (folder / "policy.json").write_text(json.dumps(_ACCEPT_ANYTHING))
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "root"}"\nrunroot = "{folder / "run"}"\n'
        )
        (folder / "containers.conf").write_text("")
        (folder / "auth.json").write_text("{}")
        self._policy = folder / "policy.json"
        self._environment = toolbox.environment(
            CONTAINERS_REGISTRIES_CONF=str(folder / "registries.conf"),
            CONTAINERS_STORAGE_CONF=str(folder / "storage.conf"),
            CONTAINERS_CONF=str(folder / "containers.conf"),
            REGISTRY_AUTH_FILE=str(folder / "auth.json"),
            TMPDIR=str(folder),
        )
        self._podman = [
            toolbox.program("podman"),
            f"--root={folder / 'root'}",
            f"--runroot={folder / 'run'}",
            f"--tmpdir={folder / 'tmp'}",
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]

    def pull(self, reference: str) -> str:
        pulled = self._run("pull", "--quiet", f"--signature-policy={self._policy}", reference).strip()
        return self._run("image", "inspect", "--format={{.Digest}}", pulled).strip()

    def _run(self, *arguments: str) -> str:
        return run([*self._podman, *arguments], environment=self._environment)


class Skopeo:
    """Skopeo, reading `registries` as its registries.conf."""

    def __init__(self, toolbox: Toolbox, folder: Path, *, registries: str) -> None:
        folder.mkdir(parents=True)
        (folder / "registries.conf").write_text(registries)
        (folder / "policy.json").write_text(json.dumps(_ACCEPT_ANYTHING))
        (folder / "auth.json").write_text("{}")
        self._folder = folder
        self._environment = toolbox.environment(REGISTRY_AUTH_FILE=str(folder / "auth.json"), TMPDIR=str(folder))
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

    def _run(self, *arguments: str) -> str:
        return run([*self._skopeo, *arguments], environment=self._environment)
