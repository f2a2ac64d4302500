"""Commands about the policies of repositories, and about their lifecycle policies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import typer

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_text
from proxy.cli.exits import fail
from proxy.cli.output import moment, show, show_json, show_table
from proxy.cli.places import read_name, require
from proxy.cli.store import run_on_store
from proxy.core.registry.lifecycle.administration import KeptPolicy
from proxy.core.registry.lifecycle.previews import Preview, PreviewStatus
from proxy.model.reference import RepositoryName

T = TypeVar("T")

_HEADINGS = ("digest", "tags", "since", "by the rule of priority")
_LOOK_SECONDS = 0.05


def get_policy(config: Path | None, name: str, *, json: bool) -> None:
    """Print the policy of a repository."""
    repository, text = _on(config, name, lambda core, named: core.administration.policies.repository_policy(named))
    _print(text, {"repository": repository, "policy": text}, json=json)


def put_policy(config: Path | None, name: str, file: Path, *, json: bool) -> None:
    """Set the policy of a repository."""
    text = read_text(file)
    repository, _ = _on(
        config,
        name,
        lambda core, named: core.administration.policies.set_repository_policy(named, text),
        "repositories.put-policy",
    )
    show({"repository": repository, "policy": text if json else "set"}, json=json)


def delete_policy(config: Path | None, name: str, *, json: bool) -> None:
    """Remove the policy of a repository."""
    repository, _ = _on(
        config,
        name,
        lambda core, named: core.administration.policies.delete_repository_policy(named),
        "repositories.delete-policy",
    )
    show({"repository": repository, "policy": None}, json=json)


def get_lifecycle(config: Path | None, name: str, *, json: bool) -> None:
    """Print the lifecycle policy of a repository."""
    repository, kept = _on(config, name, lambda core, named: core.administration.lifecycle.get(named))
    _print(kept.text, _told(repository, kept), json=json)


def put_lifecycle(config: Path | None, name: str, file: Path, *, json: bool) -> None:
    """Set the lifecycle policy of a repository."""
    text = read_text(file)
    repository, _ = _on(
        config, name, lambda core, named: core.administration.lifecycle.put(named, text), "repositories.put-lifecycle"
    )
    show({"repository": repository, "lifecycle_policy": text if json else "set"}, json=json)


def delete_lifecycle(config: Path | None, name: str, *, json: bool) -> None:
    """Remove the lifecycle policy of a repository."""
    repository, _ = _on(
        config,
        name,
        lambda core, named: core.administration.lifecycle.delete(named),
        "repositories.delete-lifecycle",
    )
    show({"repository": repository, "lifecycle_policy": None}, json=json)


def preview_lifecycle(config: Path | None, name: str, file: Path | None, *, json: bool) -> None:
    """Show what a lifecycle policy would remove."""
    text = read_text(file) if file is not None else None

    async def preview(core: Core, named: RepositoryName) -> Preview:
        found = await core.administration.lifecycle.start_preview(named, text)
        while found.status is PreviewStatus.IN_PROGRESS:
            await asyncio.sleep(_LOOK_SECONDS)
            found = await core.administration.lifecycle.preview(named)
        return found

    repository, found = _on(config, name, preview)
    if found.status is not PreviewStatus.COMPLETE:
        fail(f"the preview for {repository} could not be made: the lines above tell why")
    if json:
        images = [
            {"digest": one.digest, "tags": one.tags, "since": moment(one.pushed_at), "priority": one.priority}
            for one in found.images
        ]
        show_json({"repository": repository, "images": images})
        return
    rows = [
        (one.digest, " ".join(one.tags) or "-", moment(one.pushed_at) or "-", str(one.priority)) for one in found.images
    ]
    show_table(_HEADINGS, rows, otherwise="nothing would be removed")


def _on(
    config: Path | None, name: str, work: Callable[[Core, RepositoryName], Awaitable[T]], change: str | None = None
) -> tuple[RepositoryName, T]:
    """Return the repository that is meant and what `work` returns of it, or leave; `change` names what it changes."""
    settings, named = load(config)[1], read_name(name)

    async def run(core: Core) -> tuple[RepositoryName, T]:
        repository = (await require(core, named)).known.name
        return repository, await work(core, repository)

    return run_on_store(settings, run, Change(change, named) if change is not None else None)


def _told(repository: RepositoryName, kept: KeptPolicy) -> Mapping[str, object]:
    return {
        "repository": repository,
        "lifecycle_policy": kept.text,
        "last_evaluated_at": moment(kept.evaluated_at),
    }


def _print(text: str, answer: Mapping[str, object], *, json: bool) -> None:
    if json:
        show_json(answer)
    else:
        typer.echo(text, nl=not text.endswith("\n"))
