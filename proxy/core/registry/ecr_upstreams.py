"""The upstream registries that ECR knows, and what it asks of a rule for each."""

import re
from dataclasses import dataclass

from proxy.model.rule import UpstreamAddress


@dataclass(frozen=True, slots=True)
class KnownUpstream:
    """One of ECR's kinds of upstream: its name, the hosts it has, and whether ECR demands a secret for it."""

    name: str
    hosts: re.Pattern[str]
    needs_secret: bool


ECR = "ecr"
"""The kind of private registries of Amazon's own."""

KNOWN = (
    KnownUpstream("ecr-public", re.compile(r"public\.ecr\.aws"), needs_secret=False),
    KnownUpstream("k8s", re.compile(r"registry\.k8s\.io"), needs_secret=False),
    KnownUpstream("quay", re.compile(r"quay\.io"), needs_secret=False),
    KnownUpstream("docker-hub", re.compile(r"registry-1\.docker\.io"), needs_secret=True),
    KnownUpstream("github-container-registry", re.compile(r"ghcr\.io"), needs_secret=True),
    KnownUpstream("azure-container-registry", re.compile(r"[a-z0-9][a-z0-9-]*\.azurecr\.io"), needs_secret=True),
    KnownUpstream("gitlab-container-registry", re.compile(r"registry\.gitlab\.com"), needs_secret=True),
    KnownUpstream("chainguard", re.compile(r"cgr\.dev"), needs_secret=True),
    KnownUpstream(
        ECR, re.compile(r"[0-9]{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"), needs_secret=False
    ),
)


def known_upstream(address: UpstreamAddress) -> KnownUpstream | None:
    """Return the kind that ECR would take an upstream to be, or None for one that ECR does not know."""
    if address.scheme != "https" or address.authority != address.host:
        return None
    return next((known for known in KNOWN if known.hosts.fullmatch(address.host) is not None), None)


def region_of(address: UpstreamAddress) -> str | None:
    """Return the AWS region of a private registry of Amazon's, or None for any other upstream."""
    known = known_upstream(address)
    found = known.hosts.fullmatch(address.host) if known is not None and known.name == ECR else None
    return found["region"] if found is not None else None
