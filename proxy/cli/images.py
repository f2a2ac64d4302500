"""Commands about the images of a repository."""

from collections.abc import Mapping
from pathlib import Path

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_image
from proxy.cli.exits import fail, refuse
from proxy.cli.output import about, moment, show, show_json, show_table
from proxy.cli.places import read_name, require
from proxy.cli.store import run_on_store
from proxy.core.registry.image_ids import ImageId
from proxy.core.registry.records import ImageRecord
from proxy.model.digest import Digest

_HEADINGS = ("digest", "tags", "type", "size", "since", "last pull")
_PAGE = 1000


def list_images(config: Path | None, name: str, *, json: bool) -> None:
    """Show the images of a repository."""
    settings, named = load(config)[1], read_name(name)

    async def look(core: Core) -> list[ImageRecord]:
        repository = (await require(core, named)).known.name
        found: list[ImageRecord] = []
        while page := await core.administration.images.page(repository, str(found[-1].digest) if found else "", _PAGE):
            found += page
        return found

    found = run_on_store(settings, look)
    if json:
        show_json([_told(image) for image in found])
    else:
        show_table(_HEADINGS, [_row(image) for image in found], otherwise="there are no images")


def delete_image(config: Path | None, text: str, *, json: bool) -> None:
    """Delete a tag or an image, and tell what went."""
    settings, image = load(config)[1], read_image(text)
    reference = image.reference
    if reference is None:
        refuse(f"{text}: name a tag or a digest; `pullthrough repositories delete` drops a whole repository")
    asked = ImageId(digest=str(reference)) if isinstance(reference, Digest) else ImageId(tag=reference)

    async def remove(core: Core) -> tuple[str, list[ImageId]]:
        repository = (await require(core, image.name)).known.name
        gone, failures = await core.administration.images.delete(repository, [asked])
        if failures:
            fail(f"{text}: {failures[0].reason}")
        return repository, gone

    repository, gone = run_on_store(settings, remove, Change("images.delete", image.name, str(reference)))
    tags = [one.tag for one in gone if one.tag is not None]
    shown = {
        "repository": repository,
        "digest": gone[0].digest,
        "tags": tags if json else " ".join(tags),
        "deleted": True,
    }
    show(shown, json=json)


def _told(image: ImageRecord) -> Mapping[str, object]:
    return {
        "digest": str(image.digest),
        "tags": image.tags,
        "media_type": image.media_type,
        "artifact_type": image.artifact_type,
        "subject": str(image.subject) if image.subject is not None else None,
        "size": image.size,
        "content_size": image.content_size,
        "since": moment(image.pushed_at),
        "pulled_at": moment(image.pulled_at),
    }


def _row(image: ImageRecord) -> tuple[str, ...]:
    return (
        str(image.digest),
        " ".join(image.tags) or "-",
        image.artifact_type or image.media_type,
        about(image.content_size),
        moment(image.pushed_at) or "-",
        moment(image.pulled_at) or "-",
    )
