"""What people choose for repositories and templates: tag policy, encryption, resource tags."""

from collections.abc import Sequence

from proxy.cli.exits import refuse
from proxy.core.registry.records import Encryption
from proxy.model.tag_policy import TagMutability, TagPolicy

DEFAULT = "default"
"""What people write for no policy of the repository's own."""

_ENCRYPTIONS = ("AES256", "KMS", "KMS_DSSE")


def tag_policy(mode: str | None, filters: Sequence[str]) -> TagPolicy | None:
    """Return the policy that was written, None for that of the configuration, or leave."""
    if mode is None or mode.lower() == DEFAULT:
        if filters:
            refuse("filters need a mode: --tag-mutability IMMUTABLE_WITH_EXCLUSION or MUTABLE_WITH_EXCLUSION")
        return None
    known = {member.value: member for member in TagMutability}
    mutability = known.get(mode.upper())
    if mutability is None:
        refuse(f"there is no mode {mode!r}; there are: {', '.join(known)}, {DEFAULT}")
    try:
        return TagPolicy(mutability, tuple(filters))
    except ValueError as error:
        refuse(str(error))


def encryption(kind: str | None, key: str | None) -> Encryption:
    """Return the encryption that was written, or leave."""
    plain = Encryption()
    chosen = kind.upper() if kind is not None else plain.type
    if chosen not in _ENCRYPTIONS:
        refuse(f"there is no encryption {kind!r}; there are: {', '.join(_ENCRYPTIONS)}")
    if key is not None and chosen == plain.type:
        refuse(f"{chosen} has no key: write --encryption KMS, or leave --kms-key out")
    return Encryption(chosen, key)
