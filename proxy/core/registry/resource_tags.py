"""ECR's key-value tags of repositories, which have nothing to do with the tags of images."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import structlog

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.known_repositories import KnownRepositories
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import RepositoryDetails
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.errors import ProxyError
from proxy.model.reference import RepositoryName, parse_repository

_log = structlog.get_logger(__name__)

TAGS_LIMIT = 50
"""The most resource tags that a repository may have."""

_KEY_LIMIT, _VALUE_LIMIT = 128, 256
_RESERVED = "aws:"
_SIGNS = frozenset("_.:/=+-@")
_ARN = re.compile(
    r"arn:(?P<partition>[^:]*):ecr:(?P<region>[^:]*):(?P<account>[0-9]{12}):repository/(?P<name>[^:]*)", re.ASCII
)


def checked_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return tags by key, in the order given.

    Raises `ApiError`: InvalidTagParameterException for a key or value that AWS does not take or a key that is given
    twice, TooManyTagsException for more than `TAGS_LIMIT`.
    """
    checked: dict[str, str] = {}
    for key, value in tags:
        if key in checked:
            raise _unfit(f"The key '{_shown(key)}' is given more than once")
        _check_key(key)
        if len(value) > _VALUE_LIMIT:
            raise _unfit(f"The value of '{key}' has more than {_VALUE_LIMIT} characters")
        _check_characters("value", value)
        checked[key] = value
    _check_number(checked)
    return checked


class ResourceTagAdministration:
    """Tag repositories by their ARN, as AWS's tagging does. Every method raises `ApiError`."""

    def __init__(self, store: RegistryStore, identity: RegistryIdentity) -> None:
        self._repositories = KnownRepositories(store, identity)
        self._identity = identity

    async def tag(self, arn: str, tags: Iterable[tuple[str, str]]) -> None:
        """Add tags to a repository, or give those that it has other values; the others stay."""
        name, added = self._name(arn), checked_tags(tags)

        def change(details: RepositoryDetails) -> RepositoryDetails:
            merged = {**details.resource_tags, **added}
            # Here, where no parallel change can come in between, and not before.
            _check_number(merged)
            return replace(details, resource_tags=merged)

        await self._repositories.alter_details(name, change)
        _log.info("repository.tagged", repository=name, keys=sorted(added))

    async def untag(self, arn: str, keys: Collection[str]) -> None:
        """Take tags from a repository; keys that it does not have are passed over."""
        name = self._name(arn)
        for key in keys:
            _check_key(key)

        def change(details: RepositoryDetails) -> RepositoryDetails:
            kept = {key: value for key, value in details.resource_tags.items() if key not in keys}
            return replace(details, resource_tags=kept)

        await self._repositories.alter_details(name, change)
        _log.info("repository.untagged", repository=name, keys=sorted(keys))

    async def tags_of(self, arn: str) -> Mapping[str, str]:
        """Return the tags of a repository, in the order in which they were added."""
        return (await self._repositories.get(self._name(arn))).details.resource_tags

    def _name(self, arn: str) -> RepositoryName:
        parts = _ARN.fullmatch(arn)
        if parts is None:
            raise invalid("resourceArn", "Invalid ARN")
        try:
            name = parse_repository(parts["name"])
        except ProxyError as error:
            raise invalid("resourceArn", "Invalid ARN") from error
        if parts["account"] != self._identity.account:
            raise self._identity.unknown(name, parts["account"])
        own = self._identity.arn(name)
        if arn != own:
            raise invalid("resourceArn", f"Invalid ARN: the repository {name} of this registry is {own}")
        return name


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _KEY_LIMIT:
        raise _unfit(f"The key '{_shown(key)}' does not have 1 to {_KEY_LIMIT} characters")
    if key.lower().startswith(_RESERVED):
        raise _unfit(f"The key '{key}' begins with {_RESERVED}, which is kept for AWS")
    _check_characters("key", key)


def _check_characters(what: str, text: str) -> None:
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-using-tags.html: letters, digits and spaces of any
    # script, and a few signs.
    if not all(character in _SIGNS or unicodedata.category(character)[0] in "LNZ" for character in text):
        raise _unfit(
            f"The {what} '{_shown(text)}' has other characters than letters, digits, spaces and _ . : / = + - @"
        )


def _check_number(tags: Mapping[str, str]) -> None:
    if len(tags) > TAGS_LIMIT:
        raise ApiError(ApiErrorCode.TooManyTagsException)


def _unfit(sentence: str) -> ApiError:
    code = ApiErrorCode.InvalidTagParameterException
    return ApiError(code, f"{code.message} {sentence}")


def _shown(text: str) -> str:
    return text[:_KEY_LIMIT]
