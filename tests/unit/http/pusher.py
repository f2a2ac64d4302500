"""What tests push, and the shortest way to push it."""

import io
import json
from collections.abc import Sequence

from aiohttp import ClientResponse

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from tests.unit.http.conftest import Client

CONFIG = b"{}"
LAYER = b"a layer " * 500


def image(config: bytes = CONFIG, layers: Sequence[bytes] = (LAYER,), **more: object) -> bytes:
    """Return an image manifest over these blobs, with `more` of its keys."""
    descriptors = [
        {"mediaType": "application/octet-stream", "digest": str(Digest.of(blob)), "size": len(blob)}
        for blob in (config, *layers)
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    return json.dumps(document | more, indent=3).encode()


async def begin(client: Client, name: str = "team/app") -> str:
    """Return the Location of a fresh upload."""
    answer = await client.post(f"/v2/{name}/blobs/uploads/")
    assert answer.status == 202, await answer.text()
    return answer.headers["Location"]


async def push_blob(client: Client, content: bytes, name: str = "team/app") -> Digest:
    digest = Digest.of(content)
    answer = await client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", data=content)
    assert answer.status == 201, await answer.text()
    return digest


async def push_manifest(
    client: Client, raw: bytes, reference: object, name: str = "team/app", media_type: str = OCI_MANIFEST
) -> ClientResponse:
    url = f"/v2/{name}/manifests/{reference}"
    return await client.put(url, data=io.BytesIO(raw), headers={"Content-Type": media_type})


async def push_image(client: Client, raw: bytes, reference: object, name: str = "team/app") -> Digest:
    """Push an image of `CONFIG` and `LAYER`, with its blobs."""
    for blob in (CONFIG, LAYER):
        await push_blob(client, blob, name)
    answer = await push_manifest(client, raw, reference, name)
    assert answer.status == 201, await answer.text()
    return Digest.parse(answer.headers["Docker-Content-Digest"])


async def code_of(answer: ClientResponse) -> str:
    """Return the code of an error answer."""
    assert answer.headers.getall("Content-Type") == ["application/json"]
    [error] = (await answer.json())["errors"]
    code: str = error["code"]
    return code
