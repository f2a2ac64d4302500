"""Where a policy of the registry could allow somebody something: which names are worth asking it about."""

import re
from collections.abc import Iterator
from typing import Final

from proxy.core.access.iam.evaluation import Request, allowing
from proxy.core.registry.policy_documents import PolicyDocument
from proxy.model.name_spans import ALL_NAMES, NameSpan, span_of_name, span_of_prefix
from proxy.model.reference import RepositoryName

_WILD: Final = re.compile(r"[*?$]")


def allowed_spans(document: PolicyDocument, request: Request) -> Iterator[NameSpan | None]:
    """Yield spans of names outside of which no statement allows the principal the operation.

    The resource of `request` does not matter. What can be told only by name, conditions and variables among it, is
    taken as allowed.
    """
    begin = request.identity.arn(RepositoryName(""))
    for statement in allowing(document, request):
        if not statement.resources or "Resource" in statement.inverted:
            yield from ALL_NAMES
        else:
            for pattern in statement.resources:
                yield _span_of(pattern, begin)


def _span_of(pattern: str, begin: str) -> NameSpan | None:
    """Return the span of a pattern of ARNs; those of repositories begin with `begin`."""
    wild = _WILD.search(pattern)
    literal = pattern if wild is None else pattern[: wild.start()]
    if wild is not None and begin.startswith(literal):
        return ALL_NAMES[0]
    if not literal.startswith(begin):
        return None
    name = literal.removeprefix(begin)
    return span_of_name(name) if wild is None else span_of_prefix(name)
