"""Access keys of a file."""

from proxy.identity.watched import WatchedFile
from proxy.model.access_keys import AccessKey
from proxy.model.principal import Principal


class AccessKeyFile:
    """The `AccessKeys` of a file as it is now."""

    def __init__(self, file: WatchedFile[AccessKey]) -> None:
        self._file = file

    def find(self, key: str) -> AccessKey | None:
        """Return the key of this id, or None."""
        return self._file.entries.get(key)

    def knows(self, principal: Principal) -> bool:
        """Tell whether any key belongs to `principal` now."""
        return any(key.principal == principal for key in self._file.entries.values())
