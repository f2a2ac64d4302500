"""Work on the store, which a running server may be using too."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from proxy.app import Core, StartupError, audit_trail, open_core
from proxy.cli.exits import fail, refuse
from proxy.config.settings import Settings
from proxy.core.ports import StorageFullError
from proxy.core.rules import RuleSet
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ProxyError, UpstreamError
from proxy.storage.layout import Layout
from proxy.telemetry.audit import AuditEvent, AuditKind
from proxy.telemetry.logging import configure_logging
from proxy.telemetry.metrics import Metrics

T = TypeVar("T")

_WRONGLY_ASKED = frozenset(
    {
        ApiErrorCode.InvalidParameterException,
        ApiErrorCode.InvalidTagParameterException,
        ApiErrorCode.MalformedPolicyDocumentException,
        ApiErrorCode.TooManyTagsException,
        ApiErrorCode.UnsupportedUpstreamRegistryException,
        ApiErrorCode.ValidationException,
    }
)
"""What says that the command line is wrong, whatever the store holds."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a command changes, for the audit trail."""

    operation: str
    subject: str
    reference: str | None = None


def run_on_store(settings: Settings, work: Callable[[Core], Awaitable[T]], change: Change | None = None) -> T:
    """Open the store, made if absent, and return what `work` does on it, or leave with its failure.

    Where it is a `change` and succeeds, the audit trail is told.
    """
    configure_logging("warning", "console")
    try:
        return asyncio.run(_run(settings, work, change))
    except StartupError as error:
        refuse(str(error))
    except StorageFullError as error:
        fail(f"the store has no room for this, or cannot be written: {error}")
    except (ProxyError, UpstreamError) as error:
        fail(error.message)
    except ApiError as error:
        (refuse if error.code in _WRONGLY_ASKED else fail)(error.message)


async def _run(settings: Settings, work: Callable[[Core], Awaitable[T]], change: Change | None) -> T:
    async with open_core(settings) as core:
        done = await work(core)
        if change is not None:
            await core.audit.record(_event(change))
        return done


def tell_audit(settings: Settings, change: Change) -> None:
    """Tell the audit trail of a change that was made beside the store."""
    trail = audit_trail(settings, Metrics())
    try:
        asyncio.run(trail.record(_event(change)))
    finally:
        trail.close()


def _event(change: Change) -> AuditEvent:
    return AuditEvent(
        AuditKind.CHANGE,
        f"cli:{change.operation}",
        principal=f"local:{_user()}",
        scheme="local",
        subject=change.subject,
        reference=change.reference,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return str(os.getuid())


def has_store(settings: Settings) -> bool:
    """Tell whether there is a store already, or leave where that cannot be seen."""
    database = Layout(settings.storage.path).database
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        refuse(f"{database} cannot be looked at ({error.strerror}), and the API may have made rules in it")
    return True


def rules_in_force(settings: Settings) -> RuleSet:
    """Return the rules of the configuration and those that the API made; without a store there are none of these."""
    if not has_store(settings):
        return RuleSet.of(settings)
    return run_on_store(settings, _rules)


async def _rules(core: Core) -> RuleSet:
    return core.rules.current
