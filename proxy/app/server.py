"""The server: listeners over the services, reload, and an orderly end."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from proxy.app.core import Core, StartupError, open_core
from proxy.config.reload import Reloader
from proxy.config.settings import Settings
from proxy.core.rules import RuleSet
from proxy.http.aws.dispatch import Api
from proxy.http.server import Server, StartError
from proxy.http.services import Services
from proxy.model.rule import CacheRule
from proxy.telemetry.logging import LogControl, configure_logging


@dataclass(frozen=True, slots=True)
class Running:
    """What `run_server` tells once it listens: addresses as (label, URL), the registry's own first."""

    addresses: list[tuple[str, str]]
    settings: Settings
    rules: Sequence[CacheRule]


def run_server(settings: Settings, config_path: Path, *, greet: Callable[[Running], None]) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code of the process. Raises `StartupError`."""
    log = configure_logging(settings.log.level, settings.log.format, permanent=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, config_path, log, greet))


async def _serve(settings: Settings, config_path: Path, log: LogControl, greet: Callable[[Running], None]) -> int:
    async with open_core(settings) as core:

        def apply(changed: Settings) -> None:
            core.secrets.configured.configure(changed.secrets.values)
            core.administration.rules.configure(changed)
            log.set_level(changed.log.level)

        reloader = Reloader(config_path, settings, apply, core.metrics, os.environ, RuleSet.of)
        server = Server(await services_of(settings, core), settings.mirrors)

        def reload() -> None:
            reloader.request()
            server.renew()

        # Before the addresses are known to anyone: an early SIGHUP would end the process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        try:
            await server.start()
        except StartError as error:
            raise StartupError(str(error)) from error
        core.tasks.spawn("reload the configuration", reloader.run())
        core.tasks.spawn("watch the certificate", server.watch())
        core.tasks.spawn("sweep uploads", core.uploads.sweep())
        core.tasks.spawn("watch the rules", core.administration.rules.watch())
        core.tasks.spawn("carry out lifecycle policies", core.administration.lifecycle.run())
        core.tasks.spawn("note pulls", core.notes.run())
        core.tasks.spawn("look at the secrets", core.administration.secrets.tell_unreadable())
        core.tasks.spawn("sweep secrets", core.administration.secrets.sweep())
        # What is there now stays: a collection that looks at all of it again holds up every request.
        gc.collect()
        gc.freeze()
        greet(Running(_addresses(server), settings, core.rules.current.rules))
        await server.wait()
        # No new fill begins; those under way serve the answers that still run, then stay behind as partials.
        core.tasks.draining = True
        await server.stop()
        await core.notes.write()
    return 0


async def services_of(settings: Settings, core: Core) -> Services:
    """Return what the HTTP surfaces need of `core`, under these settings."""
    return Services(
        rules=core.rules,
        manifests=core.manifests,
        blobs=core.blobs,
        pulls=core.pulls,
        listings=core.listings,
        repositories=core.repositories,
        uploads=core.uploads,
        pushes=core.pushes,
        deletions=core.deletions,
        metrics=core.metrics,
        server=settings.server,
        ready=lambda: not core.tasks.draining,
        auth=settings.auth,
        chunk_min_length=settings.uploads.chunk_min_length,
        api=await asyncio.to_thread(Api, core.administration, settings.server.public_url),
    )


def _addresses(server: Server) -> list[tuple[str, str]]:
    found = [("registry", server.address)]
    found += [(f"mirror of {rule}", address) for rule, address in server.mirror_addresses.items()]
    return [
        (label, f"{server.scheme}://[{host}]:{port}" if ":" in host else f"{server.scheme}://{host}:{port}")
        for label, (host, port) in found
    ]
