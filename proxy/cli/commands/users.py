"""``pullthrough users``."""

from typing import Annotated

import typer

from proxy.cli.commands.options import ConfigOption, JsonOption

users_app = typer.Typer(
    help="Users that log in with a password: those of the file `auth.htpasswd`.", no_args_is_help=True
)

UserArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of the user.")]


@users_app.command("list")
def list_users(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the users, and what their hashes cost."""
    from proxy.cli import users  # noqa: PLC0415 - see the package

    users.list_users(config, json=json)


@users_app.command("set")
def set_user(name: UserArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Add a user, or give one another password.

    It is asked for at a terminal, twice, and is otherwise one line of standard input; it is never an argument, and only
    its bcrypt hash is kept. The file is made if it is not there; other lines stay as they are. A running server obeys
    within seconds: the old password ends then.
    """
    from proxy.cli import users  # noqa: PLC0415 - see the package

    users.set_password(config, name, json=json)


@users_app.command("remove")
def remove_user(name: UserArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Remove a user. Leaves with 1 where there is none. A running server obeys within seconds."""
    from proxy.cli import users  # noqa: PLC0415 - see the package

    users.remove(config, name, json=json)
