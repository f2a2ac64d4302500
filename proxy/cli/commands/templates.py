"""``pullthrough templates``."""

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.commands.options import (
    ConfigOption,
    EncryptionOption,
    FiltersOption,
    GivenModeOption,
    JsonOption,
    KmsKeyOption,
    ResourceTagsOption,
    RoleOption,
)

templates_app = typer.Typer(
    help="Creation templates: what repositories get that a pull or a push makes.", no_args_is_help=True
)

PrefixArgument = Annotated[
    str, typer.Argument(metavar="PREFIX", help="Names below it get the template; ROOT: those below no other.")
]
ScenariosOption = Annotated[
    list[str],
    typer.Option(
        "--applied-for",
        metavar="SCENARIO",
        help="PULL_THROUGH_CACHE, CREATE_ON_PUSH or REPLICATION (of which there is none); once for each.",
    ),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--repository-policy", metavar="FILE", help="A file with the policy that the repositories get."),
]
LifecycleOption = Annotated[
    Path | None,
    typer.Option("--lifecycle-policy", metavar="FILE", help="A file with the lifecycle policy that they get."),
]


@templates_app.command("list")
def list_templates(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the creation templates."""
    from proxy.cli import templates  # noqa: PLC0415 - see the package

    templates.list_templates(config, json=json)


@templates_app.command("create")
def create_template(  # noqa: PLR0913, PLR0917 - an option each
    prefix: PrefixArgument,
    applied_for: ScenariosOption,
    config: ConfigOption = None,
    description: DescriptionOption = None,
    tag_mutability: GivenModeOption = None,
    filters: FiltersOption = None,
    encryption: EncryptionOption = None,
    kms_key: KmsKeyOption = None,
    resource_tags: ResourceTagsOption = None,
    repository_policy: PolicyOption = None,
    lifecycle_policy: LifecycleOption = None,
    custom_role_arn: RoleOption = None,
    *,
    json: JsonOption = False,
) -> None:
    """Make a creation template. Repositories that are there stay as they are."""
    from proxy.cli import templates  # noqa: PLC0415 - see the package

    asked = templates.Asked(
        applied_for,
        description,
        tag_mutability,
        filters,
        encryption,
        kms_key,
        resource_tags or (),
        repository_policy,
        lifecycle_policy,
        custom_role_arn,
    )
    templates.create(config, prefix, asked, json=json)


@templates_app.command("delete")
def delete_template(prefix: PrefixArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Delete a creation template. Leaves with 1 where there is none."""
    from proxy.cli import templates  # noqa: PLC0415 - see the package

    templates.delete(config, prefix, json=json)
