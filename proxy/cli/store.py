"""Work on the store, which a running server may be using too."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import typer

from proxy.app.core import Core, StartupError, open_core
from proxy.cli.audit import Change
from proxy.cli.exits import fail, refuse
from proxy.config.settings import Settings
from proxy.core.ports import StorageFullError
from proxy.core.rules import RuleSet
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ProxyError, UpstreamError
from proxy.telemetry.logging import configure_logging

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

_NOTHING_DONE = (ApiError, ProxyError, UpstreamError, typer.Exit)
"""By these a change says why it is not made."""


def run_on_store(
    settings: Settings,
    work: Callable[[Core], Awaitable[T]],
    change: Change | None = None,
    changed: Callable[[T], bool] = lambda _: True,
) -> T:
    """Open the store, made if absent, and return what `work` does on it, or leave with its failure.

    Where it is a `change`, the audit trail is told: when it is done, as far as it has `changed` something, and when it
    broke off, which may have been halfway.
    """
    configure_logging("warning", "console")
    try:
        return asyncio.run(_run(settings, work, change, changed))
    except StartupError as error:
        refuse(str(error))
    except StorageFullError as error:
        fail(f"the store has no room for this, or cannot be written: {error}")
    except (ProxyError, UpstreamError) as error:
        fail(error.message)
    except ApiError as error:
        (refuse if error.code in _WRONGLY_ASKED else fail)(error.message)


async def _run(
    settings: Settings, work: Callable[[Core], Awaitable[T]], change: Change | None, changed: Callable[[T], bool]
) -> T:
    async with open_core(settings) as core:
        try:
            done = await work(core)
        except _NOTHING_DONE:
            raise
        except BaseException:
            if change is not None:
                await core.audit.record(replace(change.event, result="unknown: it broke off"))
            raise
        if change is not None and changed(done):
            await core.audit.record(change.event)
        return done


def rules_of_store(settings: Settings) -> RuleSet:
    """Return the rules of the configuration and of the store, or leave."""

    async def rules(core: Core) -> RuleSet:
        return core.rules.current

    return run_on_store(settings, rules)
