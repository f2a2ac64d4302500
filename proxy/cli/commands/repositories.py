"""``pullthrough repositories``: repositories, their images and their policies."""

from typing import Annotated

import typer

from proxy.cli.commands.options import (
    ConfigOption,
    EncryptionOption,
    FiltersOption,
    ImageArgument,
    JsonOption,
    KmsKeyOption,
    ModeOption,
    NameArgument,
    ResourceTagsOption,
)
from proxy.cli.commands.policies import lifecycle_app, policy_app

repositories_app = typer.Typer(
    help="Look at the repositories and their images, make and delete them, and say what holds for them.",
    no_args_is_help=True,
)
repositories_app.add_typer(policy_app, name="policy")
repositories_app.add_typer(lifecycle_app, name="lifecycle")

ModeArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODE",
        help="MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION; `default`: what the configuration says.",
    ),
]
ScanOption = Annotated[bool, typer.Option("--scan-on-push", help="What the API tells of it; nothing is scanned.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Also where there are images, and with them.")]


@repositories_app.command("list")
def list_repositories(config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show all repositories: hosted or cache of which upstream, how many images, which of their tags are immutable.

    Like the other commands for repositories, it may be used while a server runs.
    """
    from proxy.cli import repositories  # noqa: PLC0415 - see the package

    repositories.list_repositories(config, json=json)


@repositories_app.command("show")
def show_repository(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show a repository. Leaves with 1 where there is none."""
    from proxy.cli import repositories  # noqa: PLC0415 - see the package

    repositories.show_repository(config, name, json=json)


@repositories_app.command("create")
def create_repository(  # noqa: PLR0913, PLR0917 - an option each
    name: NameArgument,
    config: ConfigOption = None,
    tag_mutability: ModeOption = None,
    filters: FiltersOption = None,
    encryption: EncryptionOption = None,
    kms_key: KmsKeyOption = None,
    resource_tags: ResourceTagsOption = None,
    *,
    scan_on_push: ScanOption = False,
    json: JsonOption = False,
) -> None:
    """Make a repository. Leaves with 1, and changes nothing, where there is one.

    Only with `compatibility: ecr` must a repository be made before it is pushed to.
    """
    from proxy.cli import repositories  # noqa: PLC0415 - see the package

    asked = repositories.Asked(tag_mutability, filters or (), scan_on_push, encryption, kms_key, resource_tags or ())
    repositories.create(config, name, asked, json=json)


@repositories_app.command("delete")
def delete_repository(
    name: NameArgument, config: ConfigOption = None, *, force: ForceOption = False, json: JsonOption = False
) -> None:
    """Delete a repository. Leaves with 1, and changes nothing, where it holds images, unless it is forced."""
    from proxy.cli import repositories  # noqa: PLC0415 - see the package

    repositories.delete(config, name, force=force, json=json)


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
    from proxy.cli import repositories  # noqa: PLC0415 - see the package

    repositories.set_tag_mutability(config, name, mode, filters or (), json=json)


@repositories_app.command("images")
def list_images(name: NameArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Show the images that a repository holds, in order of digest."""
    from proxy.cli import images  # noqa: PLC0415 - see the package

    images.list_images(config, name, json=json)


@repositories_app.command("delete-image")
def delete_image(image: ImageArgument, config: ConfigOption = None, *, json: JsonOption = False) -> None:
    """Delete a tag, or by its digest an image with all its tags. Leaves with 1 where it is not there, or must stay.

    With the last tag the image goes, too. Immutable tags can be deleted. An image that an index names goes with that.
    """
    from proxy.cli import images  # noqa: PLC0415 - see the package

    images.delete_image(config, image, json=json)
