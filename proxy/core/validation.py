"""Is a rule right? From what asking its upstream showed to a verdict in words that say what to mend."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.policy import Policy
from proxy.core.probe_ports import Access, Allowance, Probe, Sample, UpstreamProbe
from proxy.core.rules import Address, RuleSet
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule, Remote

LATEST = Tag("latest")
DOCKER_HUB_PREVIEW = RepositoryName("ratelimitpreview/test")
"""The repository by which Docker documents to read the pull limit; a HEAD of it does not count as a pull."""

# What happens to a repository that nobody asked about says nothing of the rule.
_NOT_OF_THE_RULE = frozenset({UpstreamFailure.NOT_FOUND, UpstreamFailure.DENIED})
_NO_REGISTRY = (
    "check that `upstream` of rule {rule} is the host of a registry's API, and that no login page of a network or of a "
    "forward proxy answers in its place"
)
REMEDIES: Mapping[UpstreamFailure, str] = {
    # The messages of these tell which of many causes it is, and its key.
    UpstreamFailure.UNREACHABLE: "",
    UpstreamFailure.DENIED: "",
    UpstreamFailure.REFUSED_TARGET: "",
    UpstreamFailure.TIMEOUT: (
        "check `upstream` of rule {rule} and the network, name a forward proxy in its `proxy`, or raise "
        "`upstreams.connect_timeout` and `header_timeout`"
    ),
    UpstreamFailure.SERVER_ERROR: "the fault is the upstream's: try again {wait}",
    UpstreamFailure.GARBAGE: _NO_REGISTRY,
    UpstreamFailure.UNSUPPORTED: _NO_REGISTRY,
    UpstreamFailure.RATE_LIMITED: "try again {wait}",
    UpstreamFailure.CREDENTIALS_REFUSED: (
        "check user name and password in `credentials` of rule {rule}, and that they have not expired"
    ),
    UpstreamFailure.NOT_FOUND: "name an image that is there, as it is called below rule {rule}",
    UpstreamFailure.OFFLINE: "take that out to have rule {rule} asked",
    UpstreamFailure.NOT_PERMITTED: "a policy must grant `first_pull` below {rule}",
    UpstreamFailure.OVERLOADED: "try again {wait}, or raise `max_connections` of rule {rule}",
    UpstreamFailure.CIRCUIT_OPEN: "try again {wait}; `upstreams.breaker_reset` sets how long",
}
"""What to do about each failure, after its own message; the names of keys stand in back quotes."""


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether a rule can be pulled through, and what was seen.

    `failure` says what is wrong and how to mend it; it is None exactly where `is_valid`. `repository` is the upstream
    repository that access and `allowance` were read from, None where none was asked. `latency` is the time to the
    first answer in seconds. `hint` tells what a valid rule was not tested for.
    """

    rule: CacheRule
    is_valid: bool
    failure: str | None
    answers: bool
    access: Access
    latency: float | None = None
    repository: RepositoryName | None = None
    allowance: Allowance | None = None
    hint: str | None = None


class RuleValidator:
    """Validate rules as `policy` and the rules in force have them."""

    def __init__(self, port: UpstreamProbe, policy: Policy) -> None:
        self._port = port
        self._policy = policy

    async def validate(self, rules: RuleSet, rule: CacheRule, sample: Sample | None) -> Validation:
        """Ask the upstream of `rule`, and read an image if one is given, or known to be there for that purpose.

        No image is fetched, and nothing is kept. A rule that is offline is not asked, and not valid.
        """
        if self._policy.offline or rule.offline:
            where = "`upstreams`" if self._policy.offline else f"rule {rule.prefix}"
            error = UpstreamError(UpstreamFailure.OFFLINE, f"nothing was asked: `offline` is set for {where}")
            return judge(rule, Probe(None, Access.UNTESTED, error=error), sample, chosen=sample is not None)
        tried = sample or _customary_sample(rules, rule)
        return judge(rule, await self._port.probe(rule, tried), tried, chosen=sample is not None)


def find_sample(rules: RuleSet, rule: CacheRule, name: RepositoryName, reference: Tag | Digest | None = None) -> Sample:
    """Return the image that a client means by `name` below the rule's prefix.

    Raises `ProxyError`: DENIED where the rule does not let it be pulled, NAME_UNKNOWN where it never goes upstream.
    """
    found = rules.resolve(Address(name, mirror=rule.prefix))
    if found.remote is None:
        raise ProxyError(ErrorCode.NAME_UNKNOWN, found.reason)
    return Sample(found.remote.repository, reference or LATEST)


def judge(rule: CacheRule, probe: Probe, sample: Sample | None, *, chosen: bool) -> Validation:
    """Return what `probe`, made with `sample`, means; `chosen`: it is this image that somebody wants to pull."""
    error = probe.error
    if error is not None and probe.sampled and not chosen and error.failure in _NOT_OF_THE_RULE:
        error, sample = None, None
    untested = error is None and sample is None and probe.access is Access.NONE
    return Validation(
        rule=rule,
        is_valid=error is None,
        failure=explain(error, rule) if error is not None else None,
        answers=probe.latency is not None,
        access=probe.access,
        latency=probe.latency,
        repository=sample.repository if sample is not None and probe.sampled else None,
        allowance=probe.allowance,
        hint=f"rule {rule.prefix} has no credentials: name a repository to see whether everybody may pull it"
        if untested
        else None,
    )


def explain(error: UpstreamError, rule: CacheRule) -> str:
    """Return what failed, and what the operator can do about it, as one sentence."""
    remedy = REMEDIES[error.failure].format(rule=rule.prefix, wait=_wait(error.retry_after))
    if error.failure is UpstreamFailure.RATE_LIMITED and rule.credentials is None:
        remedy += f", or give rule {rule.prefix} `credentials`"
    return "; ".join(part for part in (error.message, remedy) if part)


def _wait(retry_after: float | None) -> str:
    return f"in {max(1, round(retry_after))} s" if retry_after is not None else "later"


def _customary_sample(rules: RuleSet, rule: CacheRule) -> Sample | None:
    """Return the image that an upstream keeps for reading its limit, unless the rule itself forbids it."""
    if not rule.upstream.is_docker_hub or rules.refusal(Remote(rule, DOCKER_HUB_PREVIEW)) is not None:
        return None
    return Sample(DOCKER_HUB_PREVIEW, LATEST)
