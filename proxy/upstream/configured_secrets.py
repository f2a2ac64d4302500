"""Secrets that the configuration is made of: a user name, and a variable or file with the token."""

import asyncio
import json
from collections.abc import Iterable

from proxy.config.credentials import SecretValueSettings
from proxy.config.secret_text import SecretUnreadableError, read_secret
from proxy.core.registry.secrets.names import SecretReference
from proxy.core.registry.secrets.ports import SecretError, SecretFailure


class ConfiguredSecrets:
    """The `SecretPlace` port over `secrets.values`. Variables and files are read anew each time."""

    lifetime = 5.0

    def __init__(self, values: Iterable[SecretValueSettings]) -> None:
        """Know these."""
        self._values: dict[str, SecretValueSettings] = {}
        self.configure(values)

    def configure(self, values: Iterable[SecretValueSettings]) -> None:
        """Know these instead, as a reload has it."""
        self._values = {value.name: value for value in values}

    async def read(self, reference: SecretReference) -> str | None:
        """Return a secret as the JSON object that it stands for, or None where there is none of that name."""
        value = next((self._values[name] for name in reference.names if name in self._values), None)
        if value is None:
            return None
        try:
            token = await asyncio.to_thread(read_secret, value.access_token.source())
        except SecretUnreadableError as error:
            raise SecretError(
                SecretFailure.INACCESSIBLE, f"the `access_token` of {value.name} in `secrets.values`: {error}"
            ) from None
        return json.dumps({"username": value.username, "accessToken": token})
