"""``pullthrough secrets``."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.commands.options import ConfigOption, JsonOption

secrets_app = typer.Typer(help="Secrets that rules name: accounts at upstream registries.", no_args_is_help=True)

SecretArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name or ARN of the secret; ECR's begin with `ecr-pullthroughcache/`.")
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--username",
        metavar="USER",
        help="The user name; what is read is then the password or token. Without it, what is read is all of the "
        "secret: a JSON object with `username` and `accessToken`.",
    ),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--from-file",
        metavar="FILE",
        help="Read it from a file. Without it: from standard input, and at a terminal by asking.",
    ),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
ForceOption = Annotated[bool, typer.Option("--force", help="At once, for good.")]


@secrets_app.command("list")
def list_secrets(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the secrets of the store and those of the configuration: what they are called, never what is in them."""
    from proxy.cli import secrets  # noqa: PLC0415 - see the package

    secrets.list_secrets(config, json=json)


@secrets_app.command("put")
def put_secret(
    name: SecretArgument,
    config: ConfigOption = None,
    username: UserOption = None,
    from_file: FileOption = None,
    description: DescriptionOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make a secret in the store, or give one another value. It is encrypted, and is never an argument.

    A running server uses it within seconds.
    """
    from proxy.cli import secrets  # noqa: PLC0415 - see the package

    secrets.put(config, name, secrets.Asked(username, from_file, description), json=json)


@secrets_app.command("delete")
def delete_secret(
    name: SecretArgument, config: ConfigOption = None, *, force: ForceOption = False, json: JsonOption = False
) -> None:
    """Delete a secret of the store in 30 days: rules cannot use it from now on, and `restore` brings it back."""
    from proxy.cli import secrets  # noqa: PLC0415 - see the package

    secrets.delete(config, name, force=force, json=json)


@secrets_app.command("restore")
def restore_secret(name: SecretArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Take a secret's mark for deletion off."""
    from proxy.cli import secrets  # noqa: PLC0415 - see the package

    secrets.restore(config, name, json=json)
