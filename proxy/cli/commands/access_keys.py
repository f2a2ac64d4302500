"""``pullthrough access-keys``."""

from typing import Annotated

import typer

from proxy.cli.commands.options import ConfigOption, JsonOption

access_keys_app = typer.Typer(
    help="Keys that sign requests to the AWS APIs: those of the file `auth.access_keys`.", no_args_is_help=True
)

PrincipalArgument = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="Whose key it is: the name that policies know; users may have keys.")
]
KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of the key.")]


@access_keys_app.command("list")
def list_keys(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the ids of the keys and whose they are, never their secrets."""
    from proxy.cli import access_keys  # noqa: PLC0415 - see the package

    access_keys.list_keys(config, json=json)


@access_keys_app.command("create")
def create_key(principal: PrincipalArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Make a key, and show its secret, this once.

    Whoever has a key already gets another one beside it: give that to the clients, then remove the old one. The file is
    made if it is not there; other lines stay as they are. A running server knows the key within seconds.
    """
    from proxy.cli import access_keys  # noqa: PLC0415 - see the package

    access_keys.create(config, principal, json=json)


@access_keys_app.command("remove")
def remove_key(key: KeyArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Remove a key. Leaves with 1 where there is none. A running server obeys within seconds."""
    from proxy.cli import access_keys  # noqa: PLC0415 - see the package

    access_keys.remove(config, key, json=json)
