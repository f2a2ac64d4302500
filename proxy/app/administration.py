"""The services of administrators on an open store, and the secrets that rules name."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.config.secret_text import SecretUnreadableError, read_secret
from proxy.config.settings import Settings
from proxy.core.offloading import Offloader
from proxy.core.ports import Clock
from proxy.core.registry.administration import Administration
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.images import ImageAdministration
from proxy.core.registry.layers import LayerAdministration
from proxy.core.registry.lifecycle.administration import LifecycleAdministration
from proxy.core.registry.policies import PolicyAdministration
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.registry import RegistryAdministration
from proxy.core.registry.repositories import RepositoryAdministration
from proxy.core.registry.resource_tags import ResourceTagAdministration
from proxy.core.registry.rule_probing import RuleProber
from proxy.core.registry.rules import RuleAdministration
from proxy.core.registry.secrets.administration import SecretAdministration
from proxy.core.registry.secrets.ports import SecretPlace
from proxy.core.registry.secrets.resolver import BuiltInSecrets, SecretResolver
from proxy.core.registry.templates import TemplateAdministration
from proxy.core.rules import RuleBook
from proxy.core.tasks import Tasks
from proxy.core.validation import RuleValidator
from proxy.storage.errors import StoreUnusableError
from proxy.storage.keys import KeyUnusableError, load_or_make_keys, parse_keys
from proxy.storage.layout import Layout
from proxy.storage.sealing import AesGcmSealer
from proxy.telemetry.audit import AuditTrail
from proxy.upstream.configured_secrets import ConfiguredSecrets


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where secrets are: those of the API, and what finds one of them or of another place."""

    administration: SecretAdministration
    configured: ConfiguredSecrets
    resolver: SecretResolver


@dataclass(frozen=True, slots=True)
class Parts:
    """What administration is made of."""

    settings: Settings
    identity: RegistryIdentity
    store: RegistryStore
    rules: RuleBook
    clock: Clock
    tasks: Tasks
    validator: RuleValidator
    images: ImageAdministration
    layers: LayerAdministration
    passwords: RegistryPasswords
    offloader: Offloader
    audit: AuditTrail


async def open_secrets(
    settings: Settings, layout: Layout, store: RegistryStore, identity: RegistryIdentity, clock: Clock
) -> Secrets:
    """Return what finds secrets; makes a key in the store unless the configuration names one.

    Raises `StoreUnusableError` where there is no usable key.
    """
    sealer = AesGcmSealer(await asyncio.to_thread(_keys, settings, layout))
    configured, others = configured_places(settings)
    places: list[SecretPlace] = [BuiltInSecrets(store, sealer, identity, clock), configured, *others]
    return Secrets(
        SecretAdministration(store, sealer, identity, clock), configured, SecretResolver(places, identity, clock)
    )


def configured_places(settings: Settings) -> tuple[ConfiguredSecrets, list[SecretPlace]]:
    """Return where secrets are besides the store: in the configuration, and the places that are asked after it."""
    configured, aws = ConfiguredSecrets(settings.secrets.values), settings.secrets.aws
    if aws is None:
        return configured, []
    from proxy.upstream.aws_secrets import AwsSecrets  # noqa: PLC0415 - boto3: few starts need it

    return configured, [AwsSecrets(aws)]


def administer(parts: Parts, secrets: Secrets) -> Administration:
    """Return the services of administrators; nothing runs yet."""
    store, identity, clock = parts.store, parts.identity, parts.clock
    interval = parts.settings.registry.lifecycle_interval.total_seconds()
    prober = RuleProber(parts.validator, secrets.resolver)
    rules = RuleAdministration(store, parts.rules, parts.settings, secrets=secrets.resolver, prober=prober, clock=clock)
    parts.rules.follow(rules.behind, rules.refresh)
    return Administration(
        identity=identity,
        rules=rules,
        secrets=secrets.administration,
        policies=PolicyAdministration(store, identity),
        registry=RegistryAdministration(store, identity),
        repositories=RepositoryAdministration(
            store, identity, clock, default_policy=parts.rules.tag_policy, canonical=parts.rules.canonical
        ),
        resource_tags=ResourceTagAdministration(store, identity),
        templates=TemplateAdministration(store, identity, clock),
        lifecycle=LifecycleAdministration(
            store, identity, clock, parts.tasks, offloader=parts.offloader, interval=interval, audit=parts.audit
        ),
        images=parts.images,
        layers=parts.layers,
        passwords=parts.passwords,
    )


def _keys(settings: Settings, layout: Layout) -> Sequence[bytes]:
    source = settings.secrets.key
    if source is None:
        return load_or_make_keys(layout, "secrets")
    try:
        return parse_keys(read_secret(source.source()))
    except (SecretUnreadableError, KeyUnusableError) as error:
        raise StoreUnusableError(f"`secrets.key` cannot be used: {error}") from error
