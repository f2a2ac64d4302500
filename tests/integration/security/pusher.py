"""A client that pushes, and knows exactly what it sends."""

import json
from collections.abc import Sequence

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from tests.integration.scenarios.product import Answered, Registry

CONFIG = b'{"os": "linux"}'
LAYER = b"the bytes of a layer " * 100

NOBODY = "00000000-0000-4000-8000-000000000000"
"""The id of an upload that was never begun."""


def image(config: bytes = CONFIG, layers: Sequence[bytes] = (LAYER,), **more: object) -> bytes:
    """Return an image manifest over these blobs, with `more` of its keys."""
    first, *others = (
        {"mediaType": "application/octet-stream", "digest": str(Digest.of(blob)), "size": len(blob)}
        for blob in (config, *layers)
    )
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": first, "layers": others}
    return json.dumps(document | more).encode()


def numbered(number: object) -> bytes:
    """Return one of many images of the same blobs."""
    return image(annotations={"number": str(number)})


class Pusher:
    """Push to one repository; every method returns the last answer."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name

    async def ask(
        self, path: str, *lines: tuple[str, str], method: str = "GET", content: bytes | None = None
    ) -> Answered:
        """Ask for a path of the repository."""
        return await self.registry.ask(f"/v2/{self.name}/{path}", *lines, method=method, content=content)

    async def begin(self, query: str = "") -> Answered:
        return await self.ask(f"blobs/uploads/{query}", method="POST")

    async def blob(self, content: bytes) -> Answered:
        return await self.ask(f"blobs/uploads/?digest={Digest.of(content)}", method="POST", content=content)

    async def manifest(self, raw: bytes, reference: object, media_type: str = OCI_MANIFEST) -> Answered:
        lines = ("Content-Type", media_type)
        return await self.ask(f"manifests/{reference}", lines, method="PUT", content=raw)

    async def image(self, raw: bytes, reference: object) -> Answered:
        """Push a manifest, after the blobs that `image` names by default."""
        for blob in (CONFIG, LAYER):
            assert (await self.blob(blob)).status == 201
        pushed = await self.manifest(raw, reference)
        assert pushed.status == 201, pushed
        return pushed

    async def get(self, kind: str, reference: object) -> Answered:
        return await self.ask(f"{kind}/{reference}")

    async def delete(self, kind: str, reference: object) -> Answered:
        return await self.ask(f"{kind}/{reference}", method="DELETE")
