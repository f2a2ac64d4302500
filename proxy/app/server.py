"""The server: listeners over the services, reload, and an orderly end."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from proxy.app.access import Access, open_access
from proxy.app.audit import telling_of_reloads
from proxy.app.core import Core, StartupError, open_core
from proxy.app.descriptors import within_descriptors
from proxy.config.reload import Reloader
from proxy.config.settings import Settings
from proxy.core.repeating import repeat
from proxy.core.rules import RuleSet
from proxy.http.aws.entrance import ApiSurface, LateApi
from proxy.http.listening import Sockets, StartError
from proxy.http.server import Server
from proxy.http.services import Services
from proxy.model.hosts import authority
from proxy.model.rule import CacheRule
from proxy.telemetry.exposition import OwnMetrics, WorkersMetrics
from proxy.telemetry.logging import LogControl, configure_logging
from proxy.telemetry.notices import Notices

_BEAT_SECONDS: Final = 1.0
_KEEP_TOLD_SECONDS: Final = 0.5
_GARBAGE: Final = 10_000
"""New objects after which those in cycles are looked for: few are, so that looking as often as usual finds little."""


@dataclass(frozen=True, slots=True)
class Running:
    """What `run_server` tells once it listens: addresses as (label, URL), the registry's own first."""

    addresses: list[tuple[str, str]]
    settings: Settings
    rules: Sequence[CacheRule]


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a process among several that serve together.

    `sockets` are what they all accept connections from. `folder` is where they find each other, `slot` this one's
    number. `beat` tells whoever supervises them that the process is well; it is called every second.
    """

    sockets: Sockets
    folder: Path
    slot: int
    beat: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Post:
    """What a process serves by: its configuration, as loaded from `path`, its logs, and its place (None: alone)."""

    settings: Settings
    path: Path
    log: LogControl
    place: Place | None = None


def run_server(settings: Settings, config_path: Path, *, greet: Callable[[Running], None]) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code of the process. Raises `StartupError`."""
    log = configure_logging(settings.log.level, settings.log.format, permanent=True)
    run_until_told(Post(settings, config_path, log), greet)
    return 0


def run_until_told(post: Post, greet: Callable[[Running], None]) -> None:
    """Serve in this process until a signal ends it. Raises `StartupError`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(post, greet))


async def _serve(post: Post, greet: Callable[[Running], None]) -> None:
    settings, place = post.settings, post.place
    async with AsyncExitStack() as stack:
        core = await stack.enter_async_context(open_core(settings))
        notices = Notices(core.audit, place.folder if place is not None else None)
        access = await stack.enter_async_context(open_access(settings, core, notices))

        def apply(changed: Settings) -> None:
            core.secrets.configured.configure(changed.secrets.values)
            core.administration.rules.configure(changed)
            access.configure(changed)
            post.log.set_level(changed.log.level)

        tell = telling_of_reloads(notices, post.path)
        reloader = Reloader(post.path, settings, apply, core.metrics, os.environ, RuleSet.of, tell=tell)
        connections = within_descriptors(settings.server.limits.connections)
        limits = settings.server.limits.model_copy(update={"connections": connections})
        services = replace(
            services_of(settings, core, access),
            request_log=post.log.request_log,
            server=settings.server.model_copy(update={"limits": limits}),
        )
        if place is not None:
            exposition = WorkersMetrics(core.metrics, place.folder, place.slot)
            services = replace(services, exposition=exposition)
            core.tasks.spawn("tell other workers the metrics", exposition.serve())
            core.tasks.spawn("tell the supervisor", _beat(place))
        server = Server(services, settings.mirrors, place.sockets if place is not None else None)

        def reload() -> None:
            reloader.request()
            access.request()
            server.renew()

        # Before the addresses are known to anyone: an early signal would end the process, and cut its clients off.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        if place is None:
            server.heed()
        else:
            # Who ends several processes may signal each of them, and their supervisor, which passes it on.
            server.heed((signal.SIGTERM,), hurrying=(signal.SIGQUIT,))
        try:
            await server.start()
        except StartError as error:
            raise StartupError(str(error)) from error
        _begin_background_work(core, reloader, server)
        # What is there now stays: a collection that looks at all of it again holds up every request.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        greet(Running(addresses_of(server), settings, core.rules.current.rules))
        await server.wait()
        # No new fill begins; those under way serve the answers that still run, then stay behind as partials.
        core.tasks.draining = True
        await server.stop()
        await core.notes.write()


def _begin_background_work(core: Core, reloader: Reloader, server: Server) -> None:
    """Begin what goes on as long as the server serves; `core` ends it."""
    core.tasks.spawn("reload the configuration", reloader.run())
    core.tasks.spawn("watch the certificate", server.watch())
    core.tasks.spawn("sweep uploads", core.uploads.sweep())
    core.tasks.spawn("watch the rules", core.administration.rules.watch())
    core.tasks.spawn("carry out lifecycle policies", core.administration.lifecycle.run())
    core.tasks.spawn("note pulls", core.notes.run())
    core.tasks.spawn(
        "keep tags that others fetched",
        repeat(core.manifests.keep_told, _KEEP_TOLD_SECONDS, failed="tags.not_kept"),
    )
    core.tasks.spawn("look at the secrets", core.administration.secrets.tell_unreadable())
    core.tasks.spawn("sweep secrets", core.administration.secrets.sweep())


async def _beat(place: Place) -> None:
    while True:
        place.beat()
        await asyncio.sleep(_BEAT_SECONDS)


def services_of(settings: Settings, core: Core, access: Access) -> Services:
    """Return what the HTTP surfaces need of `core` and `access`, under these settings."""

    def load_api() -> ApiSurface:
        from proxy.app.api import make_api  # noqa: PLC0415 - botocore and its models: by the first who calls an API

        return make_api(settings, core, access)

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
        exposition=OwnMetrics(core.metrics),
        audit=core.audit,
        server=settings.server,
        ready=lambda: not core.tasks.draining,
        rates=access.rates,
        authorizer=access.authorizer,
        authentication=access.authentication,
        client_ca=access.client_ca,
        guarded=settings.auth is None,
        chunk_min_length=settings.uploads.chunk_min_length,
        api=LateApi(load_api, core.tasks),
    )


def addresses_of(server: Server) -> list[tuple[str, str]]:
    """Return where a server listens, as (label, URL): the registry itself first."""
    found = [("registry", server.address)]
    found += [(f"mirror of {rule}", address) for rule, address in server.mirror_addresses.items()]
    return [(label, f"{server.scheme}://{authority(host, port)}") for label, (host, port) in found]
