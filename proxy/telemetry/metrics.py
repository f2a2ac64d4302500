"""Every metric of the product, declared once. Labels are bounded: never a repository, a tag or a client."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

# The time a series was born is a second series each, and tells an operator nothing that a scrape does not.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library leaves it untyped


class Metrics:
    """The metrics of one server process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._readers = _BeforeRead()
        self.registry.register(self._readers)  # the first one, as the registry asks in order
        self.requests = Counter(
            "pullthrough_requests",
            "Requests answered, by route, method, status and cache outcome.",
            ["route", "method", "status", "cache"],
            registry=self.registry,
        )
        self.request_seconds = Durations(
            "pullthrough_request_seconds",
            "Time to the first byte of an answer.",
            "route",
            (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 25),
        )
        self.registry.register(self.request_seconds)
        self.upstream_requests = Counter(
            "pullthrough_upstream_requests",
            "Requests made upstream, by rule, kind (manifest, blob, tags, referrers, ping, token) and status.",
            ["rule", "kind", "status"],
            registry=self.registry,
        )
        self.bytes = Counter(
            "pullthrough_bytes",
            "Bytes of content: received from upstream, sent to clients, stored, passed through without being kept, "
            "pushed by clients.",
            ["flow"],
            registry=self.registry,
        )
        self.fills_active = Gauge(
            "pullthrough_fills_active", "Blobs being fetched or followed by this process now.", registry=self.registry
        )
        self.fills_joined = Counter(
            "pullthrough_fills_joined", "Requests that shared a running fill.", registry=self.registry
        )
        self.completions = Counter(
            "pullthrough_completions",
            "Images completed in the background, by rule and outcome: completed, unneeded (nothing was missing), "
            "failed, no_room, dropped (too many waited), stopped.",
            ["rule", "outcome"],
            registry=self.registry,
        )
        self.pushes = Counter(
            "pullthrough_pushes",
            "What became of content that clients push, by kind (manifest, blob) and outcome: stored, mounted, refused, "
            "no_room.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.uploads_expired = Counter(
            "pullthrough_uploads_expired", "Uploads that got no byte for too long.", registry=self.registry
        )
        self.tag_moves_refused = Counter(
            "pullthrough_tag_moves_refused",
            "Tags that were kept from moving, by who wanted to move them: push, upstream.",
            ["cause"],
            registry=self.registry,
        )
        self.stale_served = Counter(
            "pullthrough_stale_served",
            "Answers from an old copy because the upstream failed, by rule and failure.",
            ["rule", "reason"],
            registry=self.registry,
        )
        self.warm_answers = Counter(
            "pullthrough_warm_answers",
            "Answers about kept manifests and small blobs, by kind (manifest, blob) and outcome: hit (given from "
            "memory), miss (looked up, and kept in memory).",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.memory_bytes = Gauge(
            "pullthrough_memory_bytes", "Bytes of manifests and small blobs held in memory.", registry=self.registry
        )
        self.ratelimit_remaining = Gauge(
            "pullthrough_ratelimit_remaining",
            "Pulls that the upstream still grants in its window, as it last told.",
            ["rule"],
            registry=self.registry,
        )
        self.ratelimit_limit = Gauge(
            "pullthrough_ratelimit_limit",
            "Pulls that the upstream grants in a window, as it last told.",
            ["rule"],
            registry=self.registry,
        )
        self.verify_failures = Counter(
            "pullthrough_verify_failures",
            "Content whose bytes did not have the digest asked for, by rule.",
            ["rule"],
            registry=self.registry,
        )
        self.breaker_open = Gauge(
            "pullthrough_breaker_open", "1 while an upstream host is left alone.", ["host"], registry=self.registry
        )
        self.audit_events = Counter(
            "pullthrough_audit_events",
            "Events written to the audit trail: change, refusal.",
            ["event"],
            registry=self.registry,
        )
        self.audit_failures = Counter(
            "pullthrough_audit_failures", "Audit events that could not be written.", registry=self.registry
        )
        self.certificate_expires = Gauge(
            "pullthrough_tls_certificate_expires_timestamp",
            "When the certificate of the listeners expires, in seconds since 1970; 0 without TLS.",
            registry=self.registry,
        )
        self.requests_limited = Counter(
            "pullthrough_requests_limited",
            "Requests answered with 429 because one client made too many, by how the client was known.",
            ["scheme"],
            registry=self.registry,
        )
        self.connections = Gauge(
            "pullthrough_connections", "Connections of clients that are open now.", registry=self.registry
        )
        self.reload_ok = Gauge(
            "pullthrough_config_last_reload_ok",
            "1 if the last reload of the configuration succeeded.",
            registry=self.registry,
        )
        self.reload_ok.set(1)
        self.identity_keys_fetched = Counter(
            "pullthrough_identity_keys_fetched",
            "Times that an identity provider was asked for its keys, by provider and outcome: fetched, unreachable, "
            "timeout, status (an answer other than 200), invalid.",
            ["provider", "outcome"],
            registry=self.registry,
        )

        self.password_checks = Counter(
            "pullthrough_password_checks",
            "Passwords of users that were checked, by outcome: right, wrong (both cost a computation of bcrypt), "
            "cached (the answer was known, or on its way), limited (refused unheard).",
            ["outcome"],
            registry=self.registry,
        )
        self.identity_file_ok = Gauge(
            "pullthrough_identity_file_ok",
            "1 while what a file of users or access keys holds is in force, by setting; 0 while it is at fault, and "
            "what it held before is in force.",
            ["setting"],
            registry=self.registry,
        )

    def before_read(self, catch_up: Callable[[], None]) -> None:
        """Have `catch_up` called, on the loop, before metrics are read: it adds what was counted elsewhere."""
        self._readers.callbacks.append(catch_up)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Durations(Collector):
    """A histogram of seconds with one label, for what is observed with each request.

    That of the library takes two locks for each observation. This one is for the loop's thread alone.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        """Observe nothing yet. `bounds` are the upper ones of the buckets, in order, without infinity."""
        self.label = label
        self._name, self._documentation = name, documentation
        self._bounds = tuple(bounds)
        self._texts = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, seconds: float) -> None:
        """Count `seconds` under this value of the label."""
        if value not in self._counts:
            self._counts[value], self._sums[value] = [0] * len(self._texts), 0.0
        self._counts[value][bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def describe(self) -> Iterable[Metric]:
        """Return the metric without its samples."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the metric as it stands."""
        family = self._family()
        for value, counts in self._counts.items():
            # Each bucket counts what the smaller ones do, too.
            buckets = list(zip(self._texts, map(float, accumulate(counts)), strict=True))
            family.add_metric([value], buckets, self._sums[value])
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=[self.label])


class _BeforeRead(Collector):
    """A collector of nothing, that says when others are about to be asked."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for callback in self.callbacks:
            callback()
        return ()
