"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file. Without it: the variable PULLTHROUGH_CONFIG, else config/pullthrough.yaml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ImageArgument = Annotated[
    str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="As in `docker pull`, with or without the server's address.")
]
NsOption = Annotated[
    str | None,
    typer.Option("--ns", metavar="HOST", help="The registry that the client means, like containerd's ?ns=HOST."),
]
PrefixArgument = Annotated[str, typer.Argument(metavar="PREFIX", help="The prefix of the rule.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The repository, with or without the server's address.")
]
TextArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The file with the policy; `-` for standard input.")]
ModeOption = Annotated[
    str | None,
    typer.Option(
        "--tag-mutability",
        metavar="MODE",
        help="MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION; without it, what the configuration says.",
    ),
]
GivenModeOption = Annotated[
    str | None,
    typer.Option(
        "--tag-mutability",
        metavar="MODE",
        help="MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION; without it, MUTABLE.",
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
EncryptionOption = Annotated[
    str | None,
    typer.Option(
        "--encryption", metavar="TYPE", help="AES256, KMS or KMS_DSSE: told by the API, nothing is encrypted."
    ),
]
KmsKeyOption = Annotated[str | None, typer.Option("--kms-key", metavar="KEY", help="With KMS and KMS_DSSE: told, too.")]
ResourceTagsOption = Annotated[
    list[str] | None,
    typer.Option("--resource-tag", metavar="KEY=VALUE", help="A tag of AWS's for the repository; as often as needed."),
]
RoleOption = Annotated[
    str | None, typer.Option("--custom-role-arn", metavar="ARN", help="Told by the API; no role is assumed.")
]
