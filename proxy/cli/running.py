"""Commands that use the product itself: the server, and work on its store."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from proxy.app import Running, StartupError, open_core, run_server
from proxy.cli.configured import find, load
from proxy.cli.exits import FAILED, fail, refuse
from proxy.cli.greeting import show_greeting
from proxy.cli.output import show
from proxy.config.settings import Settings
from proxy.core.manifests import ManifestAnswer
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamError
from proxy.model.reference import Tag
from proxy.telemetry.logging import configure_logging

T = TypeVar("T")
LATEST = Tag("latest")


def serve(config: Path | None) -> int:
    """Run the server; return the exit code."""
    path, settings = load(config)
    try:
        return run_server(settings, path, greet=_greet)
    except StartupError as error:
        refuse(str(error))


def refresh(config: Path | None, image: str, *, ns: str | None, json: bool) -> None:
    """Check a tag upstream."""
    settings = load(config)[1]
    resolution, reference = find(settings, image, ns=ns)
    if resolution.refusal is not None:
        fail(resolution.refusal)
    answer = run_on_store(_refresh(settings, resolution, reference or LATEST))
    shown = {
        "repository": resolution.repository,
        "digest": str(answer.digest),
        "media_type": answer.media_type,
        "size": answer.size,
        "outcome": answer.status.outcome,
        "warning": answer.warning,
    }
    show(shown, json=json)


def purge(config: Path | None, image: str, *, ns: str | None, everything: bool, json: bool) -> int:
    """Drop what is kept of an image; return the exit code."""
    settings = load(config)[1]
    resolution, reference = find(settings, image, ns=ns)
    if (reference is None) != everything:
        refuse("name a tag or a digest, or drop the whole repository by NAME --all")
    purged = run_on_store(_purge(settings, resolution, reference))
    show({"repository": resolution.repository, "purged": purged}, json=json)
    return 0 if purged else FAILED


def _greet(running: Running) -> None:
    show_greeting(Console(), running.addresses, running.settings)


async def _refresh(settings: Settings, resolution: Resolution, reference: Tag | Digest) -> ManifestAnswer:
    async with open_core(settings) as core:
        return await core.manifests.refresh(resolution, reference)


async def _purge(settings: Settings, resolution: Resolution, reference: Tag | Digest | None) -> bool:
    async with open_core(settings) as core:
        return await core.manifests.purge(resolution, reference)


def run_on_store(work: Coroutine[Any, Any, T]) -> T:
    """Run work on the store, which a running server may be using too, or leave with its failure."""
    configure_logging("warning", "console")
    try:
        return asyncio.run(work)
    except StartupError as error:
        refuse(str(error))
    except (ProxyError, UpstreamError) as error:
        fail(error.message)
