"""The commands and their options. Data goes to standard output; faults and logs to standard error.

Exit codes: 0 done; 1 it could not be done; 2 the configuration or the command line is wrong, and nothing was started.
The product is imported by the command that needs it, so that ``--help`` and shell scripts do not wait for it.
"""

from pathlib import Path
from typing import Annotated

import typer

import proxy

app = typer.Typer(
    name="pullthrough",
    help="A pull-through OCI registry: rules map repository prefixes to upstream registries.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, and those can be secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file. Without it: the variable PULLTHROUGH_CONFIG, else config/pullthrough.yaml.",
    ),
]
ImageArgument = Annotated[
    str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="As in `docker pull`, with or without the server's address.")
]
NsOption = Annotated[
    str | None,
    typer.Option("--ns", metavar="HOST", help="The registry that the client means, like containerd's ?ns=HOST."),
]
MirrorOption = Annotated[
    int | None, typer.Option("--mirror", metavar="PORT", help="As asked on the mirror that listens on PORT.")
]
PrefixArgument = Annotated[str, typer.Argument(metavar="PREFIX", help="The prefix of the rule.")]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="NAME[:TAG|@DIGEST]",
        help="Also try whether this image, named below the prefix, may be pulled, by a HEAD.",
    ),
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The repository, with or without the server's address.")
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        "--tag-mutability",
        metavar="MODE",
        help="MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION; without it, what the configuration says.",
    ),
]
ModeArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODE",
        help="MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION; `default`: what the configuration says.",
    ),
]
FiltersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="PATTERN",
        help="Tags that are excluded, such as `latest` or 'dev-*'; 1 to 5 times with the modes _WITH_EXCLUSION.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


rules_app = typer.Typer(help="Look at the cache rules, and try them.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")
repositories_app = typer.Typer(
    help="Look at the repositories, make them, and say which tags are immutable.", no_args_is_help=True
)
app.add_typer(repositories_app, name="repositories")


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
    from proxy.cli import running  # noqa: PLC0415 - see the module

    raise typer.Exit(running.serve(config))


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

    Makes no request. Leaves with 1 where the rule does not let the name be pulled.
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


@rules_app.command("list")
def list_rules(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the cache rules in force.

    Makes no request, and shows where credentials are, never what they are.
    """
    from proxy.cli import rules  # noqa: PLC0415 - see the module

    rules.list_rules(config, json=json)


@rules_app.command("validate")
def validate_rule(
    prefix: PrefixArgument,
    config: ConfigOption = None,
    repository: RepositoryOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Tell whether a rule can be pulled through: does its upstream answer, do the credentials work, what limit is left.

    Fetches nothing and keeps nothing. Leaves with 1, and says what to mend, where the rule cannot be pulled through.
    """
    from proxy.cli import rules  # noqa: PLC0415 - see the module

    raise typer.Exit(rules.validate(config, prefix, repository=repository, json=json))


@repositories_app.command("list")
def list_repositories(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show all repositories: hosted or cache of which upstream, and which of their tags are immutable.

    Like the other commands for repositories, it may be used while a server runs.
    """
    from proxy.cli import repositories  # noqa: PLC0415 - see the module

    repositories.list_repositories(config, json=json)


@repositories_app.command("show")
def show_repository(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show a repository. Leaves with 1 where there is none."""
    from proxy.cli import repositories  # noqa: PLC0415 - see the module

    repositories.show_repository(config, name, json=json)


@repositories_app.command("create")
def create_repository(
    name: NameArgument,
    config: ConfigOption = None,
    tag_mutability: ModeOption = None,
    filters: FiltersOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make a repository. Leaves with 1, and changes nothing, where there is one.

    Only with `compatibility: ecr` must a repository be made before it is pushed to.
    """
    from proxy.cli import repositories  # noqa: PLC0415 - see the module

    repositories.create(config, name, tag_mutability, filters or (), json=json)


@repositories_app.command("set-tag-mutability")
def set_tag_mutability(
    name: NameArgument,
    mode: ModeArgument,
    config: ConfigOption = None,
    filters: FiltersOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Say which tags of a repository are immutable, whatever the configuration says of its prefix.

    No tag is changed, and a running server obeys at once. Leaves with 1 where there is no such repository.
    """
    from proxy.cli import repositories  # noqa: PLC0415 - see the module

    repositories.set_tag_mutability(config, name, mode, filters or (), json=json)
