"""Those who can be known at present, whatever they are known by."""

from dataclasses import dataclass

from proxy.core.access.ports import AccessKeys, Assertions, Users
from proxy.model.principal import CERTIFICATE, Principal, is_plain, source_of


@dataclass(frozen=True, slots=True)
class Identities:
    """What the configuration has of users, access keys, identity providers (by name) and client certificates."""

    users: Users | None = None
    access_keys: AccessKeys | None = None
    assertions: Assertions | None = None
    providers: frozenset[str] = frozenset()
    certificates: bool = False

    def knows(self, principal: Principal) -> bool:
        """Tell whether something that names the principal some time ago could do so now.

        Users and owners of access keys must still be in their files. Who is known by an identity provider or a
        certificate is in no file: it counts that such are taken.
        """
        if is_plain(principal):
            return (self.users is not None and self.users.knows(principal)) or (
                self.access_keys is not None and self.access_keys.knows(principal)
            )
        source = source_of(principal)
        return source in self.providers or (self.certificates and source == CERTIFICATE)
