"""Repositories as the command line names them, and where they are in the store."""

from dataclasses import dataclass, replace

from proxy.app.core import Core
from proxy.cli.configured import read_image
from proxy.cli.exits import fail, refuse
from proxy.core.repositories import RepositoryDescription
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName


@dataclass(frozen=True, slots=True)
class Found:
    """A repository, and where its name leads."""

    known: RepositoryDescription
    resolution: Resolution


def read_name(text: str) -> RepositoryName:
    """Return the repository that `text` names, or leave."""
    image = read_image(text)
    if image.reference is not None:
        refuse(f"{text}: name a repository, without a tag or a digest")
    return image.name


async def find(core: Core, resolution: Resolution) -> Found | None:
    """Return the repository that a name leads to, or None where there is none."""
    try:
        return Found(await core.repositories.describe(resolution), resolution)
    except ProxyError as error:
        if error.code is not ErrorCode.NAME_UNKNOWN:
            raise
        return None


async def require(core: Core, name: RepositoryName) -> Found:
    """Return the repository that is meant, or leave where there is none."""
    resolution = core.rules.current.locate(Address(name))
    found = await find(core, resolution)
    if found is None and resolution.repository != name:
        # The API makes repositories under the very name that it is given.
        found = await find(core, leads(core.rules.current, name))
    if found is None:
        name = resolution.repository
        fail(f"there is no repository {name}: a push or a pull makes it, or `pullthrough repositories create {name}`")
    return found


def leads(rules: RuleSet, name: RepositoryName) -> Resolution:
    """Return where the name of a repository leads; it may be older than the rules."""
    try:
        return replace(rules.locate(Address(name)), repository=name)
    except ProxyError as error:
        return Resolution(name, None, error.message)
