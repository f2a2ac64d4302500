"""The commands and their options. Data goes to standard output; faults and logs to standard error.

Exit codes: 0 done; 1 it could not be done; 2 the configuration or the command line is wrong, and nothing was started.
The product is imported by the command that needs it, so that ``--help`` and shell scripts do not wait for it.
"""

import gc
import signal
from typing import Annotated

import typer

import proxy
from proxy.cli.commands.access_keys import access_keys_app
from proxy.cli.commands.options import ConfigOption, ImageArgument, JsonOption, NsOption
from proxy.cli.commands.repositories import repositories_app
from proxy.cli.commands.rules import rules_app
from proxy.cli.commands.secrets import secrets_app
from proxy.cli.commands.templates import templates_app
from proxy.cli.commands.users import users_app

app = typer.Typer(
    name="pullthrough",
    help="A pull-through OCI registry: rules map repository prefixes to upstream registries.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, and those can be secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(rules_app, name="rules")
app.add_typer(repositories_app, name="repositories")
app.add_typer(templates_app, name="templates")
app.add_typer(secrets_app, name="secrets")
app.add_typer(users_app, name="users")
app.add_typer(access_keys_app, name="access-keys")

MirrorOption = Annotated[
    int | None, typer.Option("--mirror", metavar="PORT", help="As asked on the mirror that listens on PORT.")
]


def main() -> None:
    """Run the command line, and leave the process with its exit code."""
    app()


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        typer.echo(f"pullthrough {proxy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the registry until SIGTERM or Ctrl-C.

    SIGHUP reloads the configuration, as saving its file does.
    """
    # It would end a server that is not ready to reload yet; what it begins with is read after this.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # What modules bring stays: looking for garbage among it, again and again as it grows, is a sixth of the start.
    gc.disable()
    from proxy.cli import serving  # noqa: PLC0415 - see the module

    gc.freeze()
    gc.enable()
    raise typer.Exit(serving.serve(config))


@app.command()
def check_config(
    config: ConfigOption = None,
    *,
    show: Annotated[bool, typer.Option("--show", help="Print the settings in force, defaults included.")] = False,
) -> None:
    """Tell what is wrong with the configuration, one line per fault; start nothing."""
    from proxy.cli import inspecting  # noqa: PLC0415 - see the module

    inspecting.check_config(config, show_settings=show)


@app.command()
def resolve(
    image: ImageArgument,
    config: ConfigOption = None,
    ns: NsOption = None,
    mirror: MirrorOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Show where a name leads: rule, repository, URL upstream, and why.

    Makes no request. The rules that the API made are known where there is a store; none is made. Leaves with 1 where
    the rule does not let the name be pulled.
    """
    from proxy.cli import inspecting  # noqa: PLC0415 - see the module

    raise typer.Exit(inspecting.resolve(config, image, ns=ns, mirror=mirror, json=json))


@app.command()
def refresh(
    image: ImageArgument, config: ConfigOption = None, ns: NsOption = None, *, json: JsonOption = False
) -> None:
    """Ask the upstream now what a tag is, whatever its age.

    The answer is kept. A running server may use the same store meanwhile.
    """
    from proxy.cli import running  # noqa: PLC0415 - see the module

    running.refresh(config, image, ns=ns, json=json)


@app.command()
def purge(
    image: ImageArgument,
    config: ConfigOption = None,
    ns: NsOption = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Drop the whole repository.")] = False,
    json: JsonOption = False,
) -> None:
    """Drop a kept image: a tag, a digest, or a whole repository.

    The next pull fetches it again. Leaves with 1 where nothing was kept, or where it was pushed: that could not be had
    again.
    """
    from proxy.cli import running  # noqa: PLC0415 - see the module

    raise typer.Exit(running.purge(config, image, ns=ns, everything=everything, json=json))
