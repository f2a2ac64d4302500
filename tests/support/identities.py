"""Users and access keys in files, as the tests of access control have them."""

from pathlib import Path

import bcrypt

from proxy.identity.htpasswd import HtpasswdUsers
from proxy.identity.watched import WatchedFile
from proxy.model.password_file import PASSWORD_FILE
from proxy.telemetry.metrics import Metrics


def user_line(name: str, password: str, cost: int = 4) -> str:
    """Return a line of a password file, at the lowest cost."""
    return f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()}"


def put(path: Path, *lines: str) -> None:
    """Put a file in place at once, as editors do, readable by its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)


class PasswordFile:
    """A password file and the users that are known by it."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self.path = path
        self.watched = WatchedFile("auth.htpasswd", path, PASSWORD_FILE, metrics, look_every=0.001)
        self.users = HtpasswdUsers(self.watched)

    async def hold(self, *lines: str) -> None:
        """Give the file other lines, and wait until they are in force."""
        put(self.path, *lines)
        assert await self.watched.renew()
