"""Users of a password file: bcrypt, computed in threads."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import bcrypt

from proxy.core.access.user_passwords import AT_ONCE
from proxy.identity.watched import WatchedFile
from proxy.model.password_file import LONGEST_PASSWORD, LOWEST_COST, UserEntry

# No password has this hash, as far as anybody knows; checking one costs what its cost says.
_NOBODYS: Final = f"{'.' * 22}{'O' * 31}"


class HtpasswdUsers:
    """The `Users` of a password file as it is now.

    A wrong password takes as long for everybody, and for users who do not exist, as for those whose hash costs most.
    `close` ends the threads.
    """

    def __init__(self, file: WatchedFile[UserEntry]) -> None:
        self._file = file
        # Their own: threads that many others wait for would be taken by passwords.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")

    async def verify(self, user: str, password: str) -> bool:
        """Tell whether the password is the user's; see the port."""
        secret = password.encode("utf-8", "surrogatepass")
        # bcrypt repeats a key, with a NUL after it, to 72 bytes: `x\0x` would pass for `x`.
        if len(secret) > LONGEST_PASSWORD or b"\0" in secret:
            return False
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _check, self._file.entries, user, secret)

    def knows(self, user: str) -> bool:
        """Tell whether the file has the user."""
        return user in self._file.entries

    def version(self, user: str) -> str | None:
        """Return the user's hash."""
        entry = self._file.entries.get(user)
        return entry.hash if entry is not None else None

    def close(self) -> None:
        """End the threads, once they have done what they are at; `verify` is not called any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _check(entries: Mapping[str, UserEntry], user: str, secret: bytes) -> bool:
    entry = entries.get(user)
    highest = max((other.cost for other in entries.values()), default=LOWEST_COST)
    if entry is None:
        bcrypt.checkpw(secret, _nobodys(highest))
        return False
    if bcrypt.checkpw(secret, entry.hash.encode()):
        return True
    # A cost takes twice as long as the one below it, so these are what is missing to the highest.
    for cost in range(entry.cost, highest):
        bcrypt.checkpw(secret, _nobodys(cost))
    return False


def _nobodys(cost: int) -> bytes:
    return f"$2b${cost:02}${_NOBODYS}".encode()
