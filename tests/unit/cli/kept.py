"""Images in the store of a configuration, put there as a client's push does."""

import asyncio
import json
import os
from pathlib import Path

from proxy.app.core import open_core
from proxy.config.loader import load_settings
from proxy.core.pushes import PushedManifest
from proxy.core.rules import Address, RuleSet
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag

INDEX = "application/vnd.oci.image.index.v1+json"


def keep(config: Path, repository: str, *tags: str, note: str = "") -> Digest:
    """Push an empty index with these tags, without any by its digest; `note` tells one from another."""
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"note": note}}).encode()
    settings = load_settings(config, os.environ, RuleSet.of)

    async def push() -> Digest:
        async with open_core(settings) as core:
            where = core.rules.current.locate(Address(RepositoryName(repository)))
            pushed = PushedManifest(raw, INDEX, Digest.of(raw), tuple(map(Tag, tags)))
            return (await core.pushes.put(where, pushed)).digest

    return asyncio.run(push())
