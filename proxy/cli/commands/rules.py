"""``pullthrough rules``."""

from typing import Annotated

import typer

from proxy.cli.commands.options import ConfigOption, JsonOption, PrefixArgument, RoleOption

rules_app = typer.Typer(help="Look at the cache rules, try them, and change those of the API.", no_args_is_help=True)

RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="NAME[:TAG|@DIGEST]",
        help="Also try whether this image, named below the prefix, may be pulled, by a HEAD.",
    ),
]
UpstreamArgument = Annotated[
    str, typer.Argument(metavar="UPSTREAM", help="HOST[:PORT] of the upstream registry; `http://` before it for plain.")
]
SecretOption = Annotated[
    str | None,
    typer.Option(
        "--credential-arn", metavar="ARN", help="The secret with the account at the upstream: its ARN, or its name."
    ),
]
UpstreamPrefixOption = Annotated[
    str | None,
    typer.Option("--upstream-prefix", metavar="PREFIX", help="What goes before the name at the upstream."),
]
UpstreamRegistryOption = Annotated[
    str | None,
    typer.Option("--upstream-registry", metavar="KIND", help="ECR's name for the upstream; it must fit UPSTREAM."),
]


@rules_app.command("list")
def list_rules(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the cache rules in force, those of the file and those of the API.

    Makes no request and no store, and shows where credentials are, never what they are.
    """
    from proxy.cli import rules  # noqa: PLC0415 - see the package

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
    from proxy.cli import rules  # noqa: PLC0415 - see the package

    raise typer.Exit(rules.validate(config, prefix, repository=repository, json=json))


@rules_app.command("create")
def create_rule(  # noqa: PLR0913, PLR0917 - an option each
    prefix: PrefixArgument,
    upstream: UpstreamArgument,
    config: ConfigOption = None,
    credential_arn: SecretOption = None,
    upstream_prefix: UpstreamPrefixOption = None,
    upstream_registry: UpstreamRegistryOption = None,
    custom_role_arn: RoleOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make a rule in the store, as the API's CreatePullThroughCacheRule does.

    A running server takes it over within a second. It goes before a rule of the file with the same prefix.
    """
    from proxy.cli import rule_changes  # noqa: PLC0415 - see the package

    rule_changes.create(
        config,
        rule_changes.Asked(prefix, upstream, credential_arn, upstream_prefix, upstream_registry, custom_role_arn),
        json=json,
    )


@rules_app.command("update")
def update_rule(
    prefix: PrefixArgument,
    config: ConfigOption = None,
    credential_arn: SecretOption = None,
    custom_role_arn: RoleOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Give a rule of the API another secret. Rules of the file are changed there."""
    from proxy.cli import rule_changes  # noqa: PLC0415 - see the package

    rule_changes.update(config, prefix, credential_arn, custom_role_arn, json=json)


@rules_app.command("delete")
def delete_rule(prefix: PrefixArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Delete a rule of the API; one of the file with the same prefix is in force again.

    What it cached stays, and is served without being checked.
    """
    from proxy.cli import rule_changes  # noqa: PLC0415 - see the package

    rule_changes.delete(config, prefix, json=json)
