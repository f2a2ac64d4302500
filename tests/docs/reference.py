# ruff: noqa: E501 - the lines of a table are as long as what they say
"""The reference pages of the documentation, generated from what they describe.

``python -m tests.docs.reference`` writes them; a test shows that they are current.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import ByteSize
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from proxy.cli.commands import app
from proxy.config.environment import variable
from proxy.config.schema import Kind, Setting, settings_of, shape
from proxy.config.settings import LIVE
from proxy.config.values import format_duration, format_size
from proxy.model.errors import ErrorCode, UpstreamFailure
from proxy.telemetry.exposition import WORKER_UP, WORKER_UP_MEANING
from proxy.telemetry.metrics import Durations, Metrics
from tests.docs import compatibility, matrix

DOCS = Path(__file__).parents[2] / "docs"
NOTE = "<!-- Generated: `python -m tests.docs.reference`. Change what is described, not this page. -->"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- configuration ------------------------------------------------------------------------------------------------

CONFIGURATION = """\
# Configuration

One YAML file. Which one: `--config FILE`, else the variable `PULLTHROUGH_CONFIG`, else `config/pullthrough.yaml` below
the working folder. [`config/pullthrough.yaml`](../config/pullthrough.yaml) is the default, with comments. An empty file
is valid: every key has a default, and there are no rules.

* **Durations** are numbers with a unit: `250ms`, `30s`, `5m`, `24h`, `7d`; without one they are seconds.
* **Sizes** are bytes with a unit: `512 KiB`, `1 GiB`, `10 GB`; without one they are bytes.
* **Paths** that are relative are relative to the folder in which the server is started, wherever the file is.
* **Secrets** are never written in the file: it says in which variable (`{env: VARIABLE}`) or file (`{file: PATH}`) a
  password is, or that a Docker `config.json` or a credential helper knows it.

`pullthrough check-config` names every fault with its line, its key and how to mend it, one line each, and leaves with 2;
`pullthrough serve` does the same and starts nothing. `pullthrough check-config --show` prints the settings in force.

## Environment

Every key can be set by a variable, which wins over the file. Its name is `PULLTHROUGH_`, then the key in capitals, with
two underscores where the file goes one level deeper:

```sh
PULLTHROUGH_SERVER__PORT=5002
PULLTHROUGH_LOG__LEVEL=debug
PULLTHROUGH_SERVER__HOSTS='["registry.corp.example"]'          # lists and mappings are JSON
PULLTHROUGH_RULES='[{"prefix": "quay", "upstream": "quay.io"}]'  # a list replaces the file's
PULLTHROUGH_RULES__0__OFFLINE=true                              # one key of the first rule
PULLTHROUGH_SERVER='{"port": 5002, "drain_timeout": "5s"}'      # an object is laid over the section
```

The deeper key wins. An empty variable counts as not set. A variable that begins with `PULLTHROUGH_` and is no setting is
a fault, unless the configuration itself names it as the place of a secret, or Kubernetes made it for a Service of that
name.

## Reload

Saving the file, or SIGHUP, takes the new configuration over without dropping a connection or a fill. In place:
LIVE.

Changes of other keys are refused by name in the log (`config.restart_needed`) and keep their old values until a restart;
a file with faults changes nothing (`config.fault`, `config.reload_failed`). `pullthrough_config_last_reload_ok` is 0 until
the server runs on exactly what the file says. Variables are those with which the process was started.

## Keys

"Live" keys are taken over by a reload.
"""

SECTIONS = {
    "server": "Where the registry listens.",
    "server.tls": "The certificate of all listeners. Without this section they speak plain HTTP. What is in the files is "
    "read again when it changes; other files need a restart.",
    "mirrors[]": "Listeners on which every name belongs to one rule: what dockerd's `registry-mirrors` points to.",
    "storage": "Where content is kept.",
    "registry": "What kind of registry this is.",
    "registry.tags[]": "Which tags are immutable, as ECR's image tag mutability; a policy of the repository's own goes before. "
    "Without both, all tags are mutable.",
    "upstreams": "How upstream registries are reached; the rules refine it.",
    "fills": "How blobs are fetched and shared among clients. The defaults are measured; change them with a reason.",
    "uploads": "How content that clients push is taken.",
    "log": "What is logged, on standard error. Secrets are masked.",
    "secrets.key": "The key by which the secrets that the API makes lie sealed in the store: 32 bytes in base64, a line each; the "
    "first one seals, all open. Without it, one is made in the store: `keys/secrets.key`. Exactly one of both.",
    "secrets.values[]": "Secrets that rules name, made of variables and files. Those that the API made are looked at before.",
    "secrets.values[].access_token": "Where the password or token is. Exactly one of both.",
    "secrets.aws": "AWS Secrets Manager, asked last, as the AWS identity that boto3 finds; not asked without this section.",
    "": "On the top level of the file.",
    "auth": "With this section nobody may do what no policy grants; at least one of `htpasswd`, `access_keys`, `oidc` and "
    "`client_ca` says who can be known. What is in the files is read again when it changes.",
    "auth.oidc[]": "Identity providers (OpenID Connect) whose tokens are taken: those of CI jobs, for example.",
    "auth.policies[]": "Who may do what. What none of them grants is refused; a caller who is known may what `anonymous` may, too.",
    "audit": "What was changed, and what was refused, and to whom: one JSON line each.",
    "server.limits": "What one client may ask of the server, so that others are served too.",
    "rules[]": "Cache rules: `<prefix>/<name>` here is `<name>` at the upstream. Prefixes match whole segments; the longest "
    "one wins. Names outside every prefix are hosted here: they are pushed to, and never go upstream.",
    "rules[].credentials": "Exactly one way: `username` with `password`, or `docker_config`, or `helper`, or `ecr`, or `secret`.",
    "rules[].credentials.ecr": "The AWS identity of this machine, for Amazon ECR as the upstream.",
    "rules[].credentials.password": "Exactly one of both.",
}


def configuration() -> str:
    """Return docs/configuration.md."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings_of():
        groups.setdefault(setting.key.rpartition(".")[0], []).append(setting)
    live = ", ".join(f"`{key}`" for key in LIVE)
    parts = [NOTE, "", CONFIGURATION.replace("LIVE", f"{live}, with all that is inside them")]
    for section, settings in groups.items():
        parts += [f"### {f'`{section}`' if section else 'Top level'}", "", SECTIONS[section], ""]
        rows = [
            (
                f"`{setting.key.rpartition('.')[2]}`",
                kind_of(setting.field.annotation),
                default_of(setting.field),
                "live" if is_live(setting.key) else "restart",
                setting.field.description or "",
            )
            for setting in settings
        ]
        parts += [table(("key", "value", "default", "change", "meaning"), rows), ""]
        parts += [f"By the environment: `{variable(settings[0].key)}` and so on.", ""]
    return "\n".join(parts)


def is_live(key: str) -> bool:
    """Tell whether a reload takes a key over."""
    return any(key == live or key.startswith((f"{live}.", f"{live}[")) for live in LIVE)


def kind_of(annotation: Any) -> str:  # noqa: ANN401 - an annotation can be anything
    """Say in a word how a value is written."""
    found = shape(annotation)
    if found.kind is Kind.LIST:
        return f"list of {kind_of(found.item)}"
    if found.kind is Kind.MAPPING:
        return "mapping"
    if found.words:
        return " or ".join([*(f"`{word}`" for word in found.words), "a section"])
    inner = (
        next((part for part in get_args(annotation) if part is not type(None)), annotation)
        if found.optional
        else annotation
    )
    if get_origin(inner) is Literal:
        return " or ".join(
            f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`" for value in get_args(inner)
        )
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " or ".join(f"`{member.value}`" for member in inner)
    named = {
        timedelta: "duration",
        ByteSize: "size",
        bool: "`true` or `false`",
        int: "number",
        float: "number",
        Path: "path",
        str: "text",
    }
    return named[get_args(inner)[0] if get_args(inner) else inner]


def default_of(field: FieldInfo) -> str:
    """Return a default as it would be written in the file."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "*required*"
    if value is None or value in ((), {}, ""):
        return "-"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if isinstance(value, ByteSize):
        return f"`{format_size(value)}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- metrics ------------------------------------------------------------------------------------------------------


def declared_metrics() -> list[MetricWrapperBase | Durations]:
    """Return all metrics, as they are declared."""
    return [value for value in vars(Metrics()).values() if isinstance(value, MetricWrapperBase | Durations)]


def metrics() -> str:
    """Return docs/metrics.md."""
    rows = []
    for metric in declared_metrics():
        (described,) = metric.describe()
        name = f"{described.name}_total" if described.type == "counter" else described.name
        names = (metric.label,) if isinstance(metric, Durations) else metric._labelnames  # noqa: SLF001 - no other way
        labels = ", ".join(f"`{label}`" for label in names)
        rows.append((f"`{name}`", described.type, labels or "-", described.documentation))
    rows.append((f"`{WORKER_UP}`", "gauge", "`worker`", WORKER_UP_MEANING))
    return "\n".join(
        [
            NOTE,
            "",
            "# Metrics",
            "",
            "`GET /metrics` on the main listener, in Prometheus' text format. Labels are bounded: no repository, tag or",
            "client is ever one. Which of them to watch, and for what: [operations](operations.md#monitor).",
            "",
            table(("metric", "kind", "labels", "meaning"), rows),
            "",
        ]
    )


# --- errors -------------------------------------------------------------------------------------------------------

WHEN = {
    ErrorCode.BLOB_UNKNOWN: "Neither kept nor upstream; or kept, but this repository's upstream has not shown to hold it.",
    ErrorCode.BLOB_UPLOAD_INVALID: "A chunk does not begin where the upload stands or is not as long as it says, or another request writes to the upload. `Location` and `Range` tell where it goes on; clients that send chunks do so by themselves.",
    ErrorCode.BLOB_UPLOAD_UNKNOWN: "The upload was finished or cancelled, got no byte for `uploads.expire_after`, or was begun for another repository: push again.",
    ErrorCode.CONTENT_ENCODING_INVALID: "What is pushed carries `Content-Encoding`, but a digest is that of the bytes as they are: something between the client and here compresses.",
    ErrorCode.DENIED: "Who asks is known and may not do it: [`auth.policies`](security.md); or may pull what is kept, and it is not (`first_pull`). Or the upstream refused the rule's credentials, or its account may not read the repository: mend `credentials` of the rule that the message names. Or `allow` or `deny` of the rule keeps the name from being pulled: the message says which, and `pullthrough resolve` explains.",
    ErrorCode.DIGEST_INVALID: "A digest in the request is not `sha256:` with 64 or `sha512:` with 128 hexadecimal digits in lower case; or what was pushed is not what its digest names: nothing of it was kept, push again.",
    ErrorCode.MALFORMED: "The request is no HTTP/1.1, or its line, a field or their number is longer than what is taken: look at what stands between client and here.",
    ErrorCode.MANIFEST_BLOB_UNKNOWN: "A manifest was pushed before what it names; `detail` lists the digests that the repository lacks. Indexes may name what is elsewhere with `registry.sparse_indexes`.",
    ErrorCode.MANIFEST_INVALID: "What was pushed is not a manifest that this registry keeps.",
    ErrorCode.MANIFEST_UNKNOWN: "The repository has no such tag or manifest, here or upstream; or it is not kept and the rule is offline.",
    ErrorCode.MISDIRECTED: "The Host header names another server. Add the name to `server.hosts`, or set `server.public_url`.",
    ErrorCode.NAME_INVALID: "The name breaks the grammar of repository names.",
    ErrorCode.NAME_UNKNOWN: "No rule leads there, and nothing was pushed there; or the upstream says that there is no such repository, or that it is private while the rule has no credentials. With `compatibility: ecr` a push does not make the repository: `pullthrough repositories create NAME`.",
    ErrorCode.NOT_FOUND: "The path is no endpoint of this server.",
    ErrorCode.PAGINATION_NUMBER_INVALID: "`n` of a list is out of bounds.",
    ErrorCode.RANGE_INVALID: "`Range` begins behind the end of the content; `Content-Range` tells its size.",
    ErrorCode.SIZE_INVALID: "A manifest has more than 8 MiB.",
    ErrorCode.STORAGE_FULL: "The disk of the store is full, or has less than `storage.min_free` left: [make room](operations.md#the-store). Nothing that was confirmed is lost.",
    ErrorCode.TAG_INVALID: "The tag exists, points to another image, and is immutable: push another tag, or delete this one first; `pullthrough repositories show NAME` tells the policy. Or what was pushed to breaks the grammar of tags.",
    ErrorCode.TOOMANYREQUESTS: "The upstream's rate limit, or this server's own limit for it, is reached, and nothing is kept to answer with. Or who asks comes too often (`server.limits.requests_per_second`), or showed too many wrong passwords. `Retry-After` tells when. Credentials raise the limit of Docker Hub.",
    ErrorCode.UNAVAILABLE: "The server is shutting down, or its store cannot be used. The log tells which.",
    ErrorCode.UNAUTHORIZED: "Who asks showed no credentials, wrong ones, or a token that is not good for this: `docker login`. `WWW-Authenticate` says how. Whether the thing exists is not told.",
    ErrorCode.UNKNOWN: "A fault of this program. The log has it under the `X-Request-ID` of the answer.",
    ErrorCode.UNSUPPORTED: "The method is not for this resource. Pushes and deletes go to the registry's own port, without `?ns=`, and into a repository under a rule's prefix only with `push: allow` in the rule.",
    ErrorCode.UPSTREAM_INVALID: "The upstream sent other bytes than the digest names, a web page (often a captive portal or a proxy's login), or led to an address that is not permitted; the message names the key that permits it.",
    ErrorCode.UPSTREAM_TIMEOUT: "The upstream did not answer within the budget, and nothing is kept to answer with.",
    ErrorCode.UPSTREAM_UNAVAILABLE: "DNS, connection, TLS or a 5xx of the upstream, and nothing is kept to answer with.",
}  # fmt: skip

CAUSES = {
    UpstreamFailure.UNREACHABLE: ("DNS, connection or TLS failed, or the connection was lost.", "Network, forward proxy (`proxy`), authorities (`ca_file`)."),
    UpstreamFailure.TIMEOUT: ("No answer in time.", "`upstreams.connect_timeout`, `header_timeout`, `budget`."),
    UpstreamFailure.SERVER_ERROR: ("The upstream answered 5xx.", "Wait; its status page tells more."),
    UpstreamFailure.GARBAGE: ("Wrong bytes, wrong length, HTML, or a schema 1 manifest.", "Look for something between here and the upstream."),
    UpstreamFailure.RATE_LIMITED: ("The upstream answered 429.", "`credentials`; a longer `revalidate_after`."),
    UpstreamFailure.CREDENTIALS_REFUSED: ("The upstream refused user or password.", "`credentials` of the rule."),
    UpstreamFailure.DENIED: ("The account, or nobody without one, may read the repository.", "`credentials` of the rule, or the name."),
    UpstreamFailure.NOT_FOUND: ("The registry itself said that there is no such thing.", "The name or tag; `pullthrough resolve` shows what was asked."),
    UpstreamFailure.UNSUPPORTED: ("The upstream lacks this part of the API.", "Nothing: the fallback tag answers for referrers."),
    UpstreamFailure.REFUSED_TARGET: ("A redirect, token server or link led to a place that is not permitted.", "`token_realms` or `allow_private`, if it is meant."),
    UpstreamFailure.OFFLINE: ("This server, or the rule, is set offline.", "`offline`."),
    UpstreamFailure.NOT_PERMITTED: ("Who asked may not have the upstream asked, only pull what is kept.", "`first_pull` in `auth.policies`."),
    UpstreamFailure.OVERLOADED: ("The predicted wait for a connection exceeds the budget.", "`max_connections` of the rule."),
    UpstreamFailure.CIRCUIT_OPEN: ("The host failed several times in a row and is left alone for a while.", "`upstreams.breaker_failures`, `breaker_reset`."),
}  # fmt: skip


def errors() -> str:
    """Return docs/errors.md."""
    codes = [(f"`{code.name}`", str(code.status), WHEN[code]) for code in ErrorCode]
    causes = [(f"`{failure.value}`", *CAUSES[failure]) for failure in UpstreamFailure]
    return "\n".join(
        [
            NOTE,
            "",
            "# Errors",
            "",
            'Errors are JSON as the distribution API has them: `{"errors": [{"code", "message", "detail"}]}`. The message says',
            "what failed, where, and how to mend it; the log has more under the `X-Request-ID` of the answer. While a copy is",
            "kept, an upstream's failure is no error: the copy is served, with `Warning` and `Cache-Status`. Once headers are",
            "out an error can only close the connection, short of the `Content-Length`: clients see that and resume.",
            "",
            "There is never a 401 of an upstream's: it would make clients send their own credentials here.",
            "",
            "## Codes",
            "",
            table(("code", "status", "when, and what to do"), codes),
            "",
            "## How an upstream failed",
            "",
            "`detail.reason` of an error, and the label `reason` of `pullthrough_stale_served_total`.",
            "",
            table(("reason", "what happened", "where to look"), causes),
            "",
        ]
    )


# --- command line -------------------------------------------------------------------------------------------------


Command = Any
"""A command as typer makes it: its own copy of click, whose types have no public name."""


def command_line() -> str:
    """Return docs/cli.md."""
    group: Command = typer.main.get_command(app)
    parts = [
        NOTE,
        "",
        "# Command line",
        "",
        "Data goes to standard output; faults and logs to standard error. Exit codes: 0 done; 1 it could not be done; 2 the",
        "configuration or the command line is wrong, and nothing was started. `python -m proxy` is the same program.",
        "",
        table(("option", "meaning"), options(group)),
        "",
    ]
    for name, command in commands_of(group):
        usage = " ".join(["pullthrough", name, *arguments(command), "[OPTIONS]"])
        parts += [f"## {name}", "", f"    {usage}", "", command.help.strip(), ""]
        parts += [table(("argument or option", "meaning"), options(command)), ""]
    return "\n".join(parts)


def commands_of(group: Command) -> Iterator[tuple[str, Command]]:
    """Yield (name, command) of all commands, those of groups with the name of the group before theirs."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", found) for inner, found in commands_of(command))
        else:
            yield name, command


def arguments(command: Command) -> list[str]:
    """Return the arguments of a command, as usage lines show them."""
    return [parameter.metavar for parameter in command.params if parameter.param_type_name == "argument"]


def options(command: Command) -> list[tuple[str, str]]:
    """Return (spelling, meaning) of the arguments and options of a command."""
    rows = []
    for parameter in command.params:
        metavar = f" {parameter.metavar}" if parameter.metavar else ""
        names = parameter.opts if parameter.param_type_name == "option" else [""]
        rows.append((", ".join(f"`{f'{name}{metavar}'.strip()}`" for name in names), parameter.help))
    return rows


# --- the AWS APIs -------------------------------------------------------------------------------------------------


def ecr_compatibility() -> str:
    """Return docs/ecr-compatibility.md."""
    parts = [NOTE, "", compatibility.INTRODUCTION]
    heads = ("operation", "state", "needs", "how it differs")
    for service, (title, note, _) in compatibility.SERVICES.items():
        parts += [f"### {title}", "", *([note, ""] if note else []), table(heads, compatibility.rows(service)), ""]
    parts += ["### AWS STS", "", table(heads, compatibility.rows("sts")), ""]
    return "\n".join(parts)


# --- security -----------------------------------------------------------------------------------------------------

MATRIX = ("<!-- matrix -->\n", "<!-- /matrix -->")
"""Between them stands what is generated; the rest of the page is written by hand."""


def security() -> str:
    """Return docs/security.md."""
    before, rest = (DOCS / "security.md").read_text(encoding="utf-8").split(MATRIX[0])
    return f"{before}{MATRIX[0]}{matrix.text()}\n{MATRIX[1]}{rest.split(MATRIX[1])[1]}"


PAGES = {
    "configuration.md": configuration,
    "metrics.md": metrics,
    "errors.md": errors,
    "cli.md": command_line,
    "ecr-compatibility.md": ecr_compatibility,
    "security.md": security,
}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(f"{page().rstrip()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
