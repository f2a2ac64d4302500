"""Upstream registries as they really are, on loopback: real host names, TLS, tokens, signed links, limits, faults.

Ten kinds, `KINDS`: the seven of ECR's first pull-through caches (``docker-hub``, ``quay``,
``github-container-registry``, ``gitlab-container-registry``, ``k8s``, ``ecr-public``,
``azure-container-registry``), private ``ecr``, ``chainguard`` and ``nvcr``. Each runs its registry, its token server
and its storage as virtual hosts on one port::

    async with start("quay", content, clock) as emulator:
        client = UpstreamClient(emulator.settings, clock, metrics)
        remote = emulator.remote()  # the public repository behind emulator.rule()
        ...
        assert emulator.journal.count(Route.MANIFEST, "GET") == 1
        assert not emulator.leaks()

What a running `Emulator` offers:

``kind``, ``rule_prefix``, ``host``, ``upstream``
    What it is, a prefix for a rule, and the address for one.
``settings``, ``settings_with(**changes)``, ``settings_of(emulators, **changes)``
    `UpstreamSettings` with the `connect_to` map and the `ca_file`. Emulators that one client is to reach are started
    with one `authority` (``trustme.CA()``).
``public_repository``, ``private_repository``, ``repositories``
    Names as they look at that registry; the private one is None where there are none. With ``needs_account`` even
    the public one is for accounts only. Further repositories go into the dictionary.
``content.public``, ``content.private``
    Their `Samples`: ``index`` (two platforms and an attestation; ``children``), ``image`` (Docker's types),
    ``nested``, ``artifact`` (its subject is the index), ``listing`` (the fallback list of ``listed``), ``signature``,
    ``schema1``, ``sha512``, ``big``; the blobs ``layer``, ``empty_blob``, ``big_blob`` (generated, 8 MiB).
``account``, ``credentials``, ``rule(with_account=…)``, ``remote(repository, with_account=…)``
    The account, a source of its password for a rule, and ready rules and remotes.
``token_hosts``, ``cdn_hosts``, ``other_hosts``, ``hosts``
    The names it serves. `ATTACKER` is always among ``hosts``: only a fault leads there.
``journal``
    Every request, see `Journal`: ``of(route, method, host=…, containing=…)``, ``count(…)``, ``lines``,
    ``await until(condition)``. An `Exchange` has ``time, request, route, status, sent, ending``.
``leaks()``
    The exchanges that took Authorization to a host that is neither registry nor token server.
``faults``
    See `tests.emulators.faults`: ``faults.add(fault, route=…, method=…, host=…, containing=…, nth=1, times=1)``.
``listener``
    ``await listener.stop()`` and ``resume()`` (connections are refused meanwhile), ``listener.broken_tls.add(host)``.

Every kind has switches of its own (``pulls``, ``referrers_answer``, ``page``, …), which its class documents; for them
use ``async with run(Quay(content, clock)) as quay``. Limits of a few requests a second, and only these, are off until
a test sets ``enforced``, because an injected clock stands still.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

from proxy.core.ports import Clock
from tests.emulators.azure import Azure
from tests.emulators.chainguard import Chainguard
from tests.emulators.content import Content, Generated, Manifest, Repository, Samples
from tests.emulators.docker_hub import DockerHub
from tests.emulators.ecr import Ecr
from tests.emulators.ecr_public import EcrPublic
from tests.emulators.emulator import ATTACKER, BearerEmulator, Emulator, run, settings_of
from tests.emulators.faults import Gate
from tests.emulators.github import GitHub
from tests.emulators.gitlab import GitLab
from tests.emulators.journal import Ending, Exchange, Journal
from tests.emulators.kubernetes import Kubernetes
from tests.emulators.messages import Route
from tests.emulators.nvidia import Nvidia
from tests.emulators.quay import Quay

KINDS: dict[str, type[Emulator]] = {
    each.kind: each for each in (DockerHub, Quay, GitHub, GitLab, Kubernetes, EcrPublic, Azure, Ecr, Chainguard, Nvidia)
}

__all__ = [
    "ATTACKER",
    "KINDS",
    "Azure",
    "BearerEmulator",
    "Chainguard",
    "Content",
    "DockerHub",
    "Ecr",
    "EcrPublic",
    "Emulator",
    "Ending",
    "Exchange",
    "Gate",
    "Generated",
    "GitHub",
    "GitLab",
    "Journal",
    "Kubernetes",
    "Manifest",
    "Nvidia",
    "Quay",
    "Repository",
    "Route",
    "Samples",
    "run",
    "settings_of",
    "start",
]


def start(
    kind: str,
    content: Content | None = None,
    clock: Clock | None = None,
    **options: Any,  # noqa: ANN401 - those of `run`
) -> AbstractAsyncContextManager[Emulator]:
    """Return a context manager that runs an emulator of `kind`; `options` are those of `run`."""
    return run(KINDS[kind](content, clock), **options)
