"""nginx over the content: the fastest upstream there is, which counts what it is asked, and the peer for blobs."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.content import Content
from tests.support.docker_registry import Certificate
from tests.support.images import OCI_MANIFEST

_ASKED = re.compile(r"(?P<port>\d+) (?P<method>[A-Z]+) (?P<status>\d+) (?P<size>\d+) (?P<path>\S+)")
_SETTLED = 0.05


@dataclass(frozen=True)
class Asked:
    """A request that was answered on a port; `size` is the number of bytes of the body that went out."""

    port: int
    method: str
    status: int
    size: int
    path: str


def write_configuration(
    folder: Path,
    content: Content,
    ports: Sequence[int],
    *,
    workers: int = 1,
    journal: Path | None = None,
    certificate: Certificate | None = None,
) -> Path:
    """Write what nginx needs to serve `content` on `ports`, and return the file. With `journal` requests are logged."""
    folder.mkdir(parents=True, exist_ok=True)
    secure = "" if certificate is None else " ssl"
    lines = [
        "daemon off;",
        f"worker_processes {workers};",
        f"error_log {folder}/error.log;",
        f"pid {folder}/nginx.pid;",
        # As root it would give up the right to read the temporary folder.
        *(["user root;"] if os.geteuid() == 0 else []),
        "events { worker_connections 4096; }",
        "http {",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        "sendfile on; tcp_nopush on; keepalive_timeout 300s; keepalive_requests 1000000000;",
        "map_hash_max_size 262144; map_hash_bucket_size 256;",
        r'map $uri $digest { default ""; "~/(?<named>sha256:[0-9a-f]+)$" $named;',
        *(f'"{path}" {digest};' for path, digest in content.digests.items()),
        "}",
        "log_format asked '$server_port $request_method $status $body_bytes_sent $uri';",
        "access_log off;" if journal is None else f"access_log {journal} asked;",
        "server {",
        *(f"listen 127.0.0.1:{port}{secure};" for port in ports),
        *([] if certificate is None else _certificate_lines(certificate)),
        f"root {content.root};",
        "add_header Docker-Content-Digest $digest;",
        'location = /v2/ { default_type application/json; return 200 "{}"; }',
        f"location ~ /manifests/ {{ types {{}} default_type {OCI_MANIFEST}; }}",
        "location / { types {} default_type application/octet-stream; }",
        "} }",
    ]
    file = folder / "nginx.conf"
    file.write_text("\n".join(lines))
    return file


def _certificate_lines(certificate: Certificate) -> list[str]:
    return [
        f"ssl_certificate {certificate.certificate};",
        f"ssl_certificate_key {certificate.key};",
        "ssl_protocols TLSv1.2 TLSv1.3;",  # as its own later versions and the others do
    ]


class Journal:
    """What an upstream was asked, read from its log from where it was read last."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read = 0

    def since(self, port: int) -> list[Asked]:
        """Return what was asked on `port` since the last call, once no line has come for a moment."""
        size = -1
        # A line is written after the last byte of its answer: its reader may have been quicker.
        while size != (size := self.file.stat().st_size if self.file.exists() else 0):
            time.sleep(_SETTLED)
        if size <= self._read:
            return []
        with self.file.open() as lines:
            lines.seek(self._read)
            text = lines.read(size - self._read)
        self._read = size
        return [
            Asked(port, line["method"], int(line["status"]), int(line["size"]), line["path"])
            for line in _ASKED.finditer(text)
            if int(line["port"]) == port
        ]
