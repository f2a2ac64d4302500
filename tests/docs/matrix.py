"""What each request needs: written from the tables by which requests are answered, for the page about security."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from proxy.http.admin import HEALTH, ROUTES
from proxy.http.aws import ecr, secretsmanager
from proxy.http.oci.endpoints import ENDPOINTS
from proxy.http.oci.paths import Kind
from proxy.model.access import Action

METRICS = "/metrics"


class Open(StrEnum):
    """What needs no action, and who gets it."""

    EVERYONE = "everyone"
    KNOWN = "whoever is known"
    CHALLENGED = "whoever is known, or has a token"
    LISTED = "`pull`, repository by repository"


@dataclass(frozen=True)
class Row:
    """A request: on which surface, how it is written, and what it needs; `operation` is its name in policies."""

    surface: str
    method: str
    template: str
    needs: Action | Open
    operation: str = ""


_SPECIAL = {Kind.PING: Open.CHALLENGED, Kind.TOKEN: Open.EVERYONE, Kind.CATALOG: Open.LISTED}


def rows() -> Iterator[Row]:
    """Yield every request that is answered; raise KeyError for one of which nobody has said what it needs."""
    for kind, endpoint in ENDPOINTS.items():
        for method, route in endpoint.methods.items():
            if route.need is None:
                yield Row("distribution", method, endpoint.template, _SPECIAL[kind])
            else:
                yield Row("distribution", method, endpoint.template, route.need.action, route.need.operation)
    for path in ROUTES:
        needs = Open.EVERYONE if path in HEALTH else {METRICS: Action.METRICS}[path]
        for method in ("GET", "HEAD"):
            yield Row("administration", method, path, needs, "pullthrough:ReadMetrics" if path == METRICS else "")
    for service, operations in (("ecr", ecr.OPERATIONS), ("secretsmanager", secretsmanager.OPERATIONS)):
        for name, operation in operations.items():
            needs = Open.LISTED if operation.lists else operation.action or Open.KNOWN
            yield Row(service, "POST", name, needs, f"{service}:{name}")
    yield Row("sts", "POST", "GetCallerIdentity", Open.KNOWN, "sts:GetCallerIdentity")


def text() -> str:
    """Return the table as Markdown."""
    lines = ["| surface | request | needs | in ECR's policies |", "| --- | --- | --- | --- |"]
    for row in rows():
        needs = row.needs if isinstance(row.needs, Open) else f"`{row.needs}`"
        request = f"{row.method} {row.template}" if row.surface in {"distribution", "administration"} else row.template
        operation = f"`{row.operation}`" if row.operation else ""
        lines.append(f"| {row.surface} | `{request}` | {needs} | {operation} |".replace("|  |", "| |"))
    return "\n".join(lines)
