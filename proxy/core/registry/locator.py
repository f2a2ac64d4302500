"""Where the repositories live that callers of the API name."""

from dataclasses import replace

from proxy.core.ports import MetadataStore
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.rules import Address, Resolution, RuleBook
from proxy.model.errors import ProxyError
from proxy.model.reference import RepositoryName


class RepositoryLocator:
    """Find repositories by their names, as the rules in force map them. Every method raises `ApiError`."""

    def __init__(self, metadata: MetadataStore, rules: RuleBook, identity: RegistryIdentity) -> None:
        self._metadata = metadata
        self._rules = rules
        self._identity = identity

    async def reach(self, name: RepositoryName, *, may_fetch: bool = True) -> Resolution:
        """Return where a repository lives, or would live once something was pulled through.

        Also where its rule keeps it from being pulled: `refusal` says so. RepositoryNotFoundException where there is
        none, and nothing to pull from. Unless `may_fetch`, nothing is asked of its upstream.
        """
        resolution = self._locate(name, may_fetch=may_fetch)
        if resolution is not None and resolution.remote is not None:
            return resolution
        return await self.require(name)

    async def require(self, name: RepositoryName, *, may_fetch: bool = True) -> Resolution:
        """Return where a repository lives, or raise RepositoryNotFoundException where there is none."""
        resolution = self._locate(name, may_fetch=may_fetch)
        if resolution is not None and await self._metadata.has_repository(resolution.repository):
            return resolution
        if (resolution is None or resolution.repository != name) and await self._metadata.has_repository(name):
            # Made under a name that pulls do not lead to, or no longer: it is there all the same.
            return Resolution(name, None, "it was made under this name", tag_policy=self._rules.tag_policy(name))
        raise self._identity.unknown(name)

    def _locate(self, name: RepositoryName, *, may_fetch: bool) -> Resolution | None:
        try:
            found = self._rules.current.locate(Address(name))
        except ProxyError:  # no repository could have this name, as the rules are now
            return None
        if may_fetch or found.remote is None:
            return found
        return replace(found, remote=replace(found.remote, may_fetch=False))
