"""Commands about repositories: what there is, making and deleting one, and which of its tags are immutable."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.app.core import Core
from proxy.cli import chosen
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_pairs
from proxy.cli.output import moment, show, show_json, show_known, show_table
from proxy.cli.places import Found, find, leads, read_name, require
from proxy.cli.store import run_on_store
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.records import PLAIN, Encryption
from proxy.core.registry.repositories import NewRepository
from proxy.core.registry.resource_tags import checked_tags
from proxy.core.rules import Address
from proxy.model.reference import RepositoryName

_HEADINGS = ("repository", "origin", "images", "tags", "tag mutability", "set by")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new repository is to be, as it was written."""

    mode: str | None
    filters: Sequence[str]
    scan_on_push: bool
    encryption: str | None
    kms_key: str | None
    resource_tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Whole:
    """A repository with all that is told of it."""

    found: Found
    record: RepositoryRecord
    images: int
    tags: int


def list_repositories(config: Path | None, *, json: bool) -> None:
    """Show all repositories in order of name."""
    found = run_on_store(load(config)[1], _list)
    if json:
        show_json([_told(one) for one in found])
    else:
        show_table(_HEADINGS, [_row(one) for one in found], otherwise="there are no repositories")


def show_repository(config: Path | None, name: str, *, json: bool) -> None:
    """Show one repository."""
    settings, named = load(config)[1], read_name(name)

    async def look(core: Core) -> _Whole:
        return await _whole(core, await require(core, named))

    _show(run_on_store(settings, look), json=json)


def create(config: Path | None, name: str, asked: Asked, *, json: bool) -> None:
    """Make a repository, and show it."""
    settings, named = load(config)[1], read_name(name)
    policy = chosen.tag_policy(asked.mode, asked.filters)
    encryption = chosen.encryption(asked.encryption, asked.kms_key)
    pairs = read_pairs(asked.resource_tags)

    async def make(core: Core) -> _Whole:
        resolution = core.rules.current.locate(Address(named))
        new = NewRepository(resolution.repository, policy, encryption, asked.scan_on_push, checked_tags(pairs))
        await core.administration.repositories.create(new)
        return await _whole(core, await require(core, named))

    _show(run_on_store(settings, make, Change("repositories.create", named)), json=json)


def delete(config: Path | None, name: str, *, force: bool, json: bool) -> None:
    """Delete a repository, and tell which."""
    settings, named = load(config)[1], read_name(name)

    async def remove(core: Core) -> RepositoryName:
        found = await require(core, named)
        return (await core.administration.repositories.delete(found.known.name, force=force)).name

    show(
        {"repository": run_on_store(settings, remove, Change("repositories.delete", named)), "deleted": True}, json=json
    )


def set_tag_mutability(config: Path | None, name: str, mode: str, filters: Sequence[str], *, json: bool) -> None:
    """Give a repository a policy for its tags, or that of the configuration, and show it."""
    settings, named = load(config)[1], read_name(name)
    policy = chosen.tag_policy(mode, filters)

    async def change(core: Core) -> _Whole:
        found = await require(core, named)
        await core.repositories.set_tag_policy(found.known.name, policy)
        return await _whole(core, await require(core, found.known.name))

    _show(run_on_store(settings, change, Change("repositories.set-tag-mutability", named, mode)), json=json)


async def _list(core: Core) -> list[_Whole]:
    found = []
    async for record in _records(core):
        one = await find(core, leads(core.rules.current, record.name))
        if one is not None:  # it may have been deleted meanwhile
            found.append(_Whole(one, record, *await _counts(core, record.name)))
    return found


async def _records(core: Core) -> AsyncIterator[RepositoryRecord]:
    last = ""
    while page := await core.administration.repositories.page(last, _PAGE):
        for record in page:
            yield record
        last = page[-1].name


async def _whole(core: Core, found: Found) -> _Whole:
    record = await core.administration.repositories.get(found.known.name)
    return _Whole(found, record, *await _counts(core, found.known.name))


async def _counts(core: Core, name: RepositoryName) -> tuple[int, int]:
    """Return how many images a repository holds, and how many tags these have."""
    images = tags = 0
    last = ""
    while page := await core.administration.images.page(name, last, _PAGE):
        images += len(page)
        tags += sum(len(image.tags) for image in page)
        last = str(page[-1].digest)
    return images, tags


def _show(one: _Whole, *, json: bool) -> None:
    if json:
        show_json(_told(one))
    else:
        show_known(_said(one), json=False)


def _told(one: _Whole) -> Mapping[str, object]:
    """Return a repository for programs."""
    known, remote, details = one.found.known, one.found.resolution.remote, one.record.details
    return {
        "repository": known.name,
        "origin": "hosted" if remote is None else "cache",
        "upstream": None if remote is None else remote.provenance.source,
        "takes_pushes": one.found.resolution.takes_pushes,
        "images": one.images,
        "tags": one.tags,
        "tag_mutability": known.tag_policy.mutability.value,
        "filters": known.tag_policy.filters,
        "own_policy": known.own,
        "scan_on_push": details.scan_on_push,
        "encryption": details.encryption.type,
        "kms_key": details.encryption.kms_key,
        "resource_tags": details.resource_tags,
        "policy": details.policy is not None,
        "lifecycle_policy": details.lifecycle is not None,
        "created_at": moment(known.created_at),
    }


def _said(one: _Whole) -> Mapping[str, object]:
    """Return a repository for people: what they would not expect, and what every one has."""
    known, details = one.found.known, one.record.details
    return {
        "repository": known.name,
        "origin": _origin(one.found),
        "takes pushes": one.found.resolution.takes_pushes,
        "images": one.images,
        "tags": one.tags,
        "tag mutability": known.tag_policy.mutability.value,
        "filters": " ".join(known.tag_policy.filters),
        "set by": _setter(one.found),
        "scan on push": details.scan_on_push or None,
        "encryption": _encryption(details.encryption),
        "resource tags": " ".join(f"{key}={value}" for key, value in details.resource_tags.items()),
        "policy": details.policy is not None or None,
        "lifecycle policy": details.lifecycle is not None or None,
        "created": moment(known.created_at),
    }


def _origin(found: Found) -> str:
    remote = found.resolution.remote
    return "hosted" if remote is None else f"cache of {remote.provenance.source}"


def _setter(found: Found) -> str:
    return "the repository" if found.known.own else "the configuration"


def _encryption(chosen: Encryption) -> str | None:
    """Return an encryption that is not what every repository has."""
    return None if chosen == PLAIN.encryption else " ".join(filter(None, (chosen.type, chosen.kms_key)))


def _row(one: _Whole) -> tuple[str, ...]:
    policy = one.found.known.tag_policy
    mutability = " ".join((policy.mutability.value, *policy.filters))
    return (
        one.found.known.name,
        _origin(one.found),
        str(one.images),
        str(one.tags),
        mutability,
        _setter(one.found),
    )
