"""The services of administrators, as one value."""

from dataclasses import dataclass

from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.images import ImageAdministration
from proxy.core.registry.layers import LayerAdministration
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.registry.policies import PolicyAdministration
from proxy.core.registry.registry import RegistryAdministration
from proxy.core.registry.repositories import RepositoryAdministration
from proxy.core.registry.resource_tags import ResourceTagAdministration
from proxy.core.registry.rules import RuleAdministration
from proxy.core.registry.secrets.administration import SecretAdministration
from proxy.core.registry.templates import TemplateAdministration


@dataclass(frozen=True, slots=True)
class Administration:
    """What administrators can do with one registry, as the AWS APIs and commands use it."""

    identity: RegistryIdentity
    rules: RuleAdministration
    secrets: SecretAdministration
    policies: PolicyAdministration
    registry: RegistryAdministration
    repositories: RepositoryAdministration
    resource_tags: ResourceTagAdministration
    templates: TemplateAdministration
    lifecycle: LifecycleAdministration
    images: ImageAdministration
    layers: LayerAdministration
    passwords: RegistryPasswords
