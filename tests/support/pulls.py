"""Pulls of whole images as a client makes them, every byte checked by its digest."""

import json

from tests.support.images import digest_of
from tests.support.pushes import Answer, Pusher


def pull(port: int, repository: str, reference: str, *, architecture: str = "amd64") -> str:
    """Pull an image, of an index the one for `architecture`; return the digest of what the reference named."""
    client = Pusher(port, repository)
    answer = manifest(client, reference)
    document, digest = json.loads(answer.body), digest_of(answer.body)
    if "manifests" in document:
        platforms = {entry["platform"]["architecture"]: entry["digest"] for entry in document["manifests"]}
        document = json.loads(manifest(client, platforms[architecture]).body)
    for descriptor in (document["config"], *document["layers"]):
        blob = client.request("GET", f"/v2/{repository}/blobs/{descriptor['digest']}")
        # A redirect would lead clients to upstream's own storage.
        assert blob.status == 200, blob
        assert digest_of(blob.body) == descriptor["digest"]
    return digest


def manifest(client: Pusher, reference: str) -> Answer:
    """Return the manifest of a tag or a digest, which must be there."""
    answer = client.manifest(reference)
    assert answer.status == 200, answer
    assert answer.headers["Docker-Content-Digest"] == digest_of(answer.body)
    assert ":" not in reference or digest_of(answer.body) == reference
    return answer
