"""Commands that work on what the product keeps of images."""

from pathlib import Path

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_image
from proxy.cli.exits import FAILED, fail, refuse
from proxy.cli.output import show
from proxy.cli.store import run_on_store
from proxy.core.manifests import ManifestAnswer
from proxy.core.rules import Address, Resolution
from proxy.model.reference import Tag

LATEST = Tag("latest")


def refresh(config: Path | None, image: str, *, ns: str | None, json: bool) -> None:
    """Check a tag upstream."""
    settings, asked = load(config)[1], read_image(image)

    async def check(core: Core) -> tuple[Resolution, ManifestAnswer]:
        resolution = core.rules.current.locate(Address(asked.name, ns))
        if resolution.refusal is not None:
            fail(resolution.refusal)
        return resolution, await core.manifests.refresh(resolution, asked.reference or LATEST)

    resolution, answer = run_on_store(settings, check)
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
    settings, asked = load(config)[1], read_image(image)
    if (asked.reference is None) != everything:
        refuse("name a tag or a digest, or drop the whole repository by NAME --all")

    async def drop(core: Core) -> tuple[Resolution, bool]:
        resolution = core.rules.current.locate(Address(asked.name, ns))
        return resolution, await core.manifests.purge(resolution, asked.reference)

    change = Change("purge", asked.name, str(asked.reference) if asked.reference else None)
    resolution, purged = run_on_store(settings, drop, change, lambda done: done[1])
    show({"repository": resolution.repository, "purged": purged}, json=json)
    return 0 if purged else FAILED
