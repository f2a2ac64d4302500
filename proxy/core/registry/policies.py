"""Policies of repositories and of the registry: kept as they were written, and never other than readable."""

from dataclasses import replace
from typing import Final

import structlog

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.known_repositories import KnownRepositories
from proxy.core.registry.policy_documents import PolicyKind, parse_policy
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import RepositoryDetails
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.reference import RepositoryName

_log = structlog.get_logger(__name__)

REGISTRY_POLICY: Final = "registry-policy"
"""The name of the text that is the policy of the registry."""


class PolicyAdministration:
    """Set, show and remove policies. Every method raises `ApiError`; texts come back byte for byte."""

    def __init__(self, store: RegistryStore, identity: RegistryIdentity) -> None:
        self._store = store
        self._repositories = KnownRepositories(store, identity)
        self._identity = identity

    async def set_repository_policy(self, name: RepositoryName, text: str) -> None:
        """Give a repository a policy, in place of the one that it had."""
        parse_policy(text, PolicyKind.REPOSITORY)
        await self._repositories.alter_details(name, lambda details: replace(details, policy=text))
        _log.info("repository.policy_set", repository=name)

    async def repository_policy(self, name: RepositoryName) -> str:
        """Return the policy of a repository, or raise RepositoryPolicyNotFoundException."""
        policy = (await self._repositories.get(name)).details.policy
        if policy is None:
            raise self._no_repository_policy(name)
        return policy

    async def delete_repository_policy(self, name: RepositoryName) -> str:
        """Remove the policy of a repository and return it."""
        removed = ""

        def change(details: RepositoryDetails) -> RepositoryDetails:
            nonlocal removed
            if details.policy is None:
                raise self._no_repository_policy(name)
            removed = details.policy
            return replace(details, policy=None)

        await self._repositories.alter_details(name, change)
        _log.info("repository.policy_deleted", repository=name)
        return removed

    async def set_registry_policy(self, text: str) -> None:
        """Give the registry a policy, in place of the one that it had."""
        parse_policy(text, PolicyKind.REGISTRY)
        await self._store.alter_document(REGISTRY_POLICY, lambda _before: text)
        _log.info("registry.policy_set")

    async def registry_policy(self) -> str:
        """Return the policy of the registry, or raise RegistryPolicyNotFoundException."""
        text = await self._store.document(REGISTRY_POLICY)
        if text is None:
            raise self._no_registry_policy()
        return text

    async def delete_registry_policy(self) -> str:
        """Remove the policy of the registry and return it."""
        removed = await self._store.alter_document(REGISTRY_POLICY, lambda _before: None)
        if removed is None:
            raise self._no_registry_policy()
        _log.info("registry.policy_deleted")
        return removed

    def _no_repository_policy(self, name: RepositoryName) -> ApiError:
        return ApiError(
            ApiErrorCode.RepositoryPolicyNotFoundException,
            f"Repository policy does not exist for the repository with name '{name}' in the registry with id "
            f"'{self._identity.account}'",
        )

    def _no_registry_policy(self) -> ApiError:
        return ApiError(
            ApiErrorCode.RegistryPolicyNotFoundException,
            f"Registry policy does not exist in the registry with id '{self._identity.account}'",
        )
