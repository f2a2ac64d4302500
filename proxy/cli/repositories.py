"""Commands about repositories: what there is, and which of their tags are immutable."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from proxy.app import Core, open_core
from proxy.cli.configured import find, load
from proxy.cli.exits import fail, refuse
from proxy.cli.output import show, show_json, show_table
from proxy.cli.running import run_on_store
from proxy.config.settings import Settings
from proxy.core.repositories import RepositoryDescription
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy

_HEADINGS = ("repository", "origin", "tag mutability", "set by")
_PAGE = 1000
_DEFAULT = "default"
"""What people write for no policy of the repository's own."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A repository, and where its name leads."""

    known: RepositoryDescription
    resolution: Resolution


def list_repositories(config: Path | None, *, json: bool) -> None:
    """Show all repositories in order of name."""
    settings = load(config)[1]
    found = run_on_store(_list(settings))
    if json:
        show_json([_told(one) for one in found])
    else:
        show_table(_HEADINGS, [_row(one) for one in found], otherwise="there are no repositories")


def show_repository(config: Path | None, name: str, *, json: bool) -> None:
    """Show one repository."""
    settings = load(config)[1]
    resolution = _named(settings, name)
    _show(run_on_store(_describe(settings, resolution)), json=json)


def create(config: Path | None, name: str, mode: str | None, filters: Sequence[str], *, json: bool) -> None:
    """Make a repository, and show it."""
    settings = load(config)[1]
    resolution = _named(settings, name)
    policy = _policy(mode or _DEFAULT, filters)
    _show(run_on_store(_create(settings, resolution, policy)), json=json)


def set_tag_mutability(config: Path | None, name: str, mode: str, filters: Sequence[str], *, json: bool) -> None:
    """Give a repository a policy for its tags, or that of the configuration, and show it."""
    settings = load(config)[1]
    resolution = _named(settings, name)
    policy = _policy(mode, filters)
    _show(run_on_store(_set_tag_policy(settings, resolution, policy)), json=json)


async def _list(settings: Settings) -> list[_Found]:
    rules = RuleSet.of(settings)
    async with open_core(settings) as core:
        return [found async for name in _names(core) if (found := await _find(core, _leads(rules, name))) is not None]


async def _describe(settings: Settings, resolution: Resolution) -> _Found:
    async with open_core(settings) as core:
        return await _require(core, resolution)


async def _create(settings: Settings, resolution: Resolution, policy: TagPolicy | None) -> _Found:
    async with open_core(settings) as core:
        if not await core.repositories.create(resolution.repository, policy):
            fail(f"there is a repository {resolution.repository} already: nothing was changed")
        return await _require(core, resolution)


async def _set_tag_policy(settings: Settings, resolution: Resolution, policy: TagPolicy | None) -> _Found:
    async with open_core(settings) as core:
        await _require(core, resolution)
        await core.repositories.set_tag_policy(resolution.repository, policy)
        return await _require(core, resolution)


async def _names(core: Core) -> AsyncIterator[RepositoryName]:
    more, last = True, ""
    while more:
        page = await core.listings.catalog(_PAGE, last)
        for name in page.repositories:
            yield name
            last = name
        more = page.more


async def _find(core: Core, resolution: Resolution) -> _Found | None:
    try:
        return _Found(await core.repositories.describe(resolution), resolution)
    except ProxyError as error:
        if error.code is not ErrorCode.NAME_UNKNOWN:
            raise
        return None


async def _require(core: Core, resolution: Resolution) -> _Found:
    found = await _find(core, resolution)
    if found is None:
        name = resolution.repository
        fail(f"there is no repository {name}: a push or a pull makes it, or `pullthrough repositories create {name}`")
    return found


def _named(settings: Settings, name: str) -> Resolution:
    resolution, reference = find(settings, name)
    if reference is not None:
        refuse(f"{name}: name a repository, without a tag or a digest")
    return resolution


def _leads(rules: RuleSet, name: RepositoryName) -> Resolution:
    """Return where the name of a repository leads; it may be older than the rules."""
    try:
        return replace(rules.locate(Address(name)), repository=name)
    except ProxyError as error:
        return Resolution(name, None, error.message)


def _policy(mode: str, filters: Sequence[str]) -> TagPolicy | None:
    if mode.lower() == _DEFAULT:
        if filters:
            refuse("filters need a mode: --tag-mutability IMMUTABLE_WITH_EXCLUSION or MUTABLE_WITH_EXCLUSION")
        return None
    known = {member.value: member for member in TagMutability}
    mutability = known.get(mode.upper())
    if mutability is None:
        refuse(f"there is no mode {mode!r}; there are: {', '.join(known)}, {_DEFAULT}")
    try:
        return TagPolicy(mutability, tuple(filters))
    except ValueError as error:
        refuse(str(error))


def _show(found: _Found, *, json: bool) -> None:
    show(_told(found) if json else _said(found), json=json)


def _told(found: _Found) -> Mapping[str, object]:
    """Return a repository for programs."""
    known, remote = found.known, found.resolution.remote
    return {
        "repository": known.name,
        "origin": "hosted" if remote is None else "cache",
        "upstream": None if remote is None else remote.provenance.source,
        "takes_pushes": found.resolution.takes_pushes,
        "tag_mutability": known.tag_policy.mutability.value,
        "filters": known.tag_policy.filters,
        "own_policy": known.own,
        "created_at": _time(known),
    }


def _said(found: _Found) -> Mapping[str, object]:
    """Return a repository for people."""
    known = found.known
    lines = {
        "repository": known.name,
        "origin": _origin(found),
        "takes pushes": found.resolution.takes_pushes,
        "tag mutability": known.tag_policy.mutability.value,
        "filters": " ".join(known.tag_policy.filters) or None,
        "set by": _setter(known),
        "created": _time(known),
    }
    return {name: value for name, value in lines.items() if value is not None}


def _origin(found: _Found) -> str:
    remote = found.resolution.remote
    return "hosted" if remote is None else f"cache of {remote.provenance.source}"


def _setter(known: RepositoryDescription) -> str:
    return "the repository" if known.own else "the configuration"


def _time(known: RepositoryDescription) -> str:
    return datetime.fromtimestamp(known.created_at, UTC).isoformat(timespec="seconds")


def _row(found: _Found) -> tuple[str, ...]:
    policy = found.known.tag_policy
    mutability = " ".join((policy.mutability.value, *policy.filters))
    return found.known.name, _origin(found), mutability, _setter(found.known)
