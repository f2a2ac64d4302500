"""``pullthrough repositories policy`` and ``pullthrough repositories lifecycle``."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.commands.options import ConfigOption, JsonOption, NameArgument, TextArgument

policy_app = typer.Typer(help="Policies of repositories: who may do what.", no_args_is_help=True)
lifecycle_app = typer.Typer(help="Lifecycle policies: which images are removed in time.", no_args_is_help=True)

OptionalTextArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="A file with a policy to try, `-` for standard input; without: the one that it has."
    ),
]


@policy_app.command("get")
def get_policy(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Print the policy of a repository, byte for byte as it was given. Leaves with 1 where it has none."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.get_policy(config, name, json=json)


@policy_app.command("put")
def put_policy(
    name: NameArgument, file: TextArgument, config: ConfigOption = None, *, json: JsonOption = False
) -> None:
    """Give a repository a policy, in place of the one that it has."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.put_policy(config, name, file, json=json)


@policy_app.command("delete")
def delete_policy(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Take its policy from a repository."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.delete_policy(config, name, json=json)


@lifecycle_app.command("get")
def get_lifecycle(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Print the lifecycle policy of a repository, as it was given. Leaves with 1 where it has none."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.get_lifecycle(config, name, json=json)


@lifecycle_app.command("put")
def put_lifecycle(
    name: NameArgument, file: TextArgument, config: ConfigOption = None, *, json: JsonOption = False
) -> None:
    """Give a repository a lifecycle policy, in place of the one that it has.

    A running server carries it out in its next round: see `registry.lifecycle_interval`.
    """
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.put_lifecycle(config, name, file, json=json)


@lifecycle_app.command("delete")
def delete_lifecycle(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Take its lifecycle policy from a repository."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.delete_lifecycle(config, name, json=json)


@lifecycle_app.command("preview")
def preview_lifecycle(
    name: NameArgument, file: OptionalTextArgument = None, config: ConfigOption = None, *, json: JsonOption = False
) -> None:
    """Show which images a lifecycle policy would remove now. Removes nothing."""
    from proxy.cli import policies  # noqa: PLC0415 - see the package

    policies.preview_lifecycle(config, name, file, json=json)
