"""Real programs for the tests: from PATH, else from Debian packages or from PyPI, unpacked under ``.cache/parts``.

Nothing is installed and no package list of the system is touched: missing packages are fetched with
``apt-get download`` and unpacked with ``dpkg -x``, together with the libraries that this system lacks; programs from
PyPI get a virtual environment of their own.
What cannot be had skips the test on a person's machine and fails it under ``CI=true``.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "parts"


class UnobtainableError(Exception):
    """A part is neither installed nor fetchable here; the message says why."""


@dataclass(frozen=True)
class Part:
    """A set of programs that come from one Debian package and what it depends on.

    `check` is run to see that the programs start; the first word of it is a program of the part. `status` is how it
    ends: a few programs tell their version and fail.
    """

    package: str
    programs: tuple[str, ...]
    check: tuple[str, ...]
    status: int = 0


BUILDAH = Part("buildah", ("buildah",), ("buildah", "--version"))
DOCKER = Part("docker.io", ("dockerd", "docker", "containerd", "runc"), ("dockerd", "--version"))
CONTAINERD = Part("containerd", ("containerd", "ctr"), ("containerd", "--version"))
NGINX = Part("nginx", ("nginx",), ("nginx", "-v"))
PODMAN = Part("podman", ("podman", "conmon"), ("podman", "--version"))
REGISTRY = Part("docker-registry", ("docker-registry",), ("docker-registry", "--version"))
SKOPEO = Part("skopeo", ("skopeo",), ("skopeo", "--version"))
STRACE = Part("strace", ("strace",), ("strace", "--version"))
WRK = Part("wrk", ("wrk",), ("wrk", "-v"), status=1)


@dataclass(frozen=True)
class Wheel:
    """Programs that come from PyPI: `requirement` is what pip installs. `programs`, `check`, `status` as in `Part`."""

    requirement: str
    programs: tuple[str, ...]
    check: tuple[str, ...]
    status: int = 0

    @property
    def package(self) -> str:
        return self.requirement.partition("==")[0]


AWS_CLI = Wheel("awscli==1.46.3", ("aws",), ("aws", "--version"))


@dataclass(frozen=True)
class Toolbox:
    """Programs that can be run: `root` is the tree they were unpacked to, None when they are the system's own."""

    root: Path | None
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment in which the programs of the part are found and find their libraries."""
        return {**os.environ, **self.variables, **more}

    def program(self, name: str) -> str:
        """Return the absolute path of a program of the part."""
        found = shutil.which(name, path=self.environment()["PATH"])
        if found is None:
            raise UnobtainableError(f"{name} is not among the programs under {self.root or 'PATH'}")
        return found


def obtain(part: Part | Wheel) -> Toolbox:
    """Return the programs of `part`, fetching them on the first call.

    Safe to call from several processes at a time. Raises UnobtainableError.
    """
    system = Toolbox(root=None)
    if all(shutil.which(program) for program in part.programs) and _starts(part, system):
        return system
    with _locked(CACHE / f"{part.package}.lock"):
        toolbox = _unpacked(CACHE / part.package)
        if _starts(part, toolbox):
            return toolbox
        shutil.rmtree(CACHE / part.package, ignore_errors=True)
        if isinstance(part, Wheel):
            _install(part.requirement, CACHE / part.package)
        else:
            _unpack(fetch(_missing(part.package)), CACHE / part.package)
        toolbox = _unpacked(CACHE / part.package)
        if not _starts(part, toolbox):
            raise UnobtainableError(f"{part.check[0]} from the package {part.package} does not start on this machine")
        return toolbox


def fetch(packages: Sequence[str]) -> list[Path]:
    """Return the .deb files of `packages`, in this order, downloading those that are not in the cache yet."""
    folder = CACHE / "debs"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "debs.lock"):
        absent = [package for package in packages if _deb(folder, package) is None]
        if absent:
            incoming = CACHE / "incoming"
            shutil.rmtree(incoming, ignore_errors=True)
            incoming.mkdir()
            _apt("download", *absent, cwd=incoming)
            for file in incoming.iterdir():
                file.rename(folder / file.name)
        found = [_deb(folder, package) for package in packages]
    return [file for file in found if file is not None]


def unobtainable(reason: str) -> NoReturn:
    """Skip the running test on a person's machine, fail it under ``CI=true``: there nothing may go untested."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(part: Part | Wheel, *, root: bool = False) -> Toolbox:
    """Return the programs of `part` for a fixture; with `root`, only where the tests run as root."""
    if root:
        require_root(part.package)
    try:
        return obtain(part)
    except UnobtainableError as error:
        unobtainable(str(error))


def require_root(what: str) -> None:
    """Skip or fail, as `unobtainable` does, where the tests do not run as root."""
    if os.geteuid() != 0:
        unobtainable(f"{what} needs root")


def _starts(part: Part | Wheel, toolbox: Toolbox) -> bool:
    try:
        command = [toolbox.program(part.check[0]), *part.check[1:]]
        done = subprocess.run(command, env=toolbox.environment(), capture_output=True, timeout=30, check=False)
    except (UnobtainableError, OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == part.status


def _unpacked(root: Path) -> Toolbox:
    programs = [root / folder for folder in ("usr/bin", "usr/sbin", "bin", "sbin")]
    libraries = [*sorted(root.glob("usr/lib/*-linux-gnu*")), *sorted(root.glob("lib/*-linux-gnu*"))]
    variables = {"PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]])}
    if libraries:
        inherited = os.environ.get("LD_LIBRARY_PATH")
        variables["LD_LIBRARY_PATH"] = os.pathsep.join([*map(str, libraries), *([inherited] if inherited else [])])
    return Toolbox(root, variables)


def _unpack(debs: Sequence[Path], root: Path) -> None:
    unfinished = root.with_name(f"{root.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for deb in debs:
        subprocess.run(["dpkg", "-x", deb, unfinished], check=True, capture_output=True)
    unfinished.rename(root)


def _install(requirement: str, root: Path) -> None:
    """Make a virtual environment with one package; scripts name its folder, so it is made where it stays."""
    pip = [f"{root}/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    try:
        for command in ([sys.executable, "-m", "venv", str(root)], [*pip, "install", requirement]):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(root, ignore_errors=True)
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnobtainableError(f"{requirement} cannot be installed from PyPI: {last}") from error


def _missing(package: str) -> list[str]:
    """Return `package` and those of its dependencies that are not installed here."""
    # A package that is installed already, but in another version, is left alone: ours must not shadow its libraries.
    plan = _apt("--simulate", "--no-install-recommends", "install", package)
    planned = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    names = [words[1] for words in planned if not words[2].startswith("[")]
    return names if package in names else [package, *names]


def _deb(folder: Path, package: str) -> Path | None:
    return next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    """Run apt-get with the system's package lists; where these are missing or too old, with lists of our own."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise UnobtainableError("the programs are not installed, and there is no apt-get to fetch them with")
    command = ["apt-get", "--quiet", "--quiet", "--option=APT::Sandbox::User=root", "--option=Debug::NoLocking=true"]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode == 0:
        return done.stdout
    own = CACHE / "apt"
    (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (own / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    command += [f"--option=Dir::State::Lists={own / 'lists'}", f"--option=Dir::Cache={own / 'cache'}"]
    for step in (["update"], list(arguments)):
        done = subprocess.run(
            [*command, *step], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnobtainableError(f"apt-get {' '.join(arguments)} failed: {last}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
