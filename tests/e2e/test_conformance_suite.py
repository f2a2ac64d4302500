"""The official conformance suite of the OCI distribution-spec, as a program that somebody built elsewhere.

OCI_CONFORMANCE names it: the program of today (`go build` in the specification's folder `conformance`), or the
`conformance.test` of 2024 and before. Each run gets the settings of both; its output tells which one it was.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.model.digest import Digest
from proxy.model.reference import referrers_tag
from tests.support import images, parts
from tests.support.docker_registry import DockerRegistry
from tests.support.images import Image, digest_of
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

VARIABLE = "OCI_CONFORMANCE"
REPOSITORY = "conformance/one"
OTHER = "conformance/two"
ARTIFACT = "application/vnd.example.report.v1"

_SECONDS = 270
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# "  Pass....: 850" below the result; the lists of APIs and data that follow have a word after the colon.
_TODAY = re.compile(r"^  (Pass|FAIL|Error|Skip)\.*: +(\d+)$", re.MULTILINE)
_BEFORE = re.compile(r"(\d+) Passed \| (\d+) Failed\b")


@dataclass(frozen=True)
class Verdict:
    """What a run came to. `before`: it was the suite of 2024 or before."""

    passed: int
    failed: int
    before: bool


def verdict(output: str) -> Verdict:
    """Return what a run says of itself; raise AssertionError where it came to no end."""
    text = _COLOUR.sub("", output)
    _, found, summary = text.partition("OCI Conformance Result:")
    if found:
        counts = {status: int(count) for status, count in _TODAY.findall(summary)}
        return Verdict(counts["Pass"], counts["FAIL"] + counts["Error"], before=False)
    ended = _BEFORE.search(text)
    assert ended is not None, f"the suite came to no end:\n{text[-4000:]}"
    return Verdict(int(ended[1]), int(ended[2]), before=True)


@pytest.fixture(scope="module")
def program() -> Path:
    named = os.environ.get(VARIABLE)
    if not named:
        # Not under CI either: it is in no package registry, so nothing here could fetch it.
        pytest.skip(
            f"the conformance suite is distributed as source only: build it and set {VARIABLE} to the program; what it "
            "asserts is also in tests/conformance"
        )
    found = Path(named).resolve()
    assert os.access(found, os.X_OK), f"{VARIABLE} names {named}, which is no program"
    return found


def run_suite(program: Path, folder: Path, registry: str, **settings: str) -> str:
    """Return what the suite prints on either stream; its exit status tells less, and not always the truth."""
    results = folder / "results"
    results.mkdir(parents=True)
    own = {
        "OCI_REGISTRY": registry,
        "OCI_TLS": "disabled",
        "OCI_RESULTS_DIR": str(results),
        "OCI_ROOT_URL": f"http://{registry}",
        "OCI_REPORT_DIR": str(results),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    done = subprocess.run(
        [program],
        cwd=folder,  # a configuration file of the suite that lies about elsewhere is not read
        env={**inherited, **own, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    (results / "output").write_text(done.stdout)
    return done.stdout


def failures(output: str) -> str:
    """Return the lines of the output that tell what failed, for a person to read."""
    lines = [line for line in _COLOUR.sub("", output).splitlines() if re.search(r"FAIL|Error|^\s+- ", line)]
    return "\n".join(lines[:200])


@pytest.mark.parametrize("version", ["stable", "dev"])
def test_hosted_repositories_conform(program: Path, tmp_path: Path, version: str) -> None:
    everything = ("PULL", "PUSH", "CONTENT_DISCOVERY", "CONTENT_MANAGEMENT")
    with Pullthrough(tmp_path / "proxy", {}) as proxy:
        output = run_suite(
            program,
            tmp_path / "suite",
            proxy.address,
            OCI_VERSION=version,
            OCI_REPO1=REPOSITORY,
            OCI_REPO2=OTHER,
            OCI_NAMESPACE=REPOSITORY,
            OCI_CROSSMOUNT_NAMESPACE=OTHER,
            OCI_AUTOMATIC_CROSSMOUNT="1",
            **{f"OCI_TEST_{category}": "1" for category in everything},
        )
    said = verdict(output)
    assert said.failed == 0, failures(output)
    assert said.passed > (60 if said.before else 700), output[-4000:]


@dataclass(frozen=True)
class Offered:
    """What a read-only registry holds, for the suite to ask for."""

    upstream: DockerRegistry
    image: Image
    tags: list[str]
    artifact: Image


@pytest.fixture
def offered(tmp_path: Path) -> Iterator[Offered]:
    """A registry without referrers API that holds an image, an artifact of it, and the tag that says so."""
    registry = DockerRegistry(parts.require(parts.REGISTRY), tmp_path / "storage", tmp_path / "upstream")
    registry.start()
    try:
        image = images.of_blobs(b'{"architecture": "amd64", "os": "linux"}', [images.noise(1, 5000)])
        tags = ["1.0", "1.1", "2.0", "latest"]
        for tag in tags:
            images.push(image, registry.url, REPOSITORY, tag)
        artifact = _artifact(image)
        images.push(artifact, registry.url, REPOSITORY, artifact.digest)
        listed = {**artifact.descriptor, "artifactType": ARTIFACT}
        document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [listed]}
        listing = Image(json.dumps(document).encode(), images.OCI_INDEX, {}, (artifact,))
        images.push(listing, registry.url, REPOSITORY, referrers_tag(Digest.parse(image.digest)))
        yield Offered(registry, image, tags, artifact)
    finally:
        registry.stop()


def _artifact(subject: Image) -> Image:
    blobs = {digest_of(content): content for content in (b"{}", b"a report")}
    config, layer = ({"digest": digest, "size": len(content)} for digest, content in blobs.items())
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", **config},
        "layers": [{"mediaType": ARTIFACT, **layer}],
        "subject": subject.descriptor,
    }
    return Image(json.dumps(document).encode(), images.OCI_MANIFEST, blobs)


def test_a_cache_conforms_as_a_read_only_registry(program: Path, offered: Offered, tmp_path: Path) -> None:
    settings = {"rules": [{"prefix": "up", "upstream": offered.upstream.url}]}
    denied = ("API_PUSH", "API_BLOBS_DELETE", "API_MANIFESTS_DELETE", "API_TAGS_DELETE")
    atomic = ("API_BLOBS_ATOMIC", "API_MANIFESTS_ATOMIC", "API_TAGS_ATOMIC")
    with Pullthrough(tmp_path / "proxy", settings) as proxy:
        output = run_suite(
            program,
            tmp_path / "suite",
            proxy.address,
            # The draft's checks of digest headers are wrong where the suite does not know the content.
            OCI_VERSION="stable",
            OCI_REPO1=f"up/{REPOSITORY}",
            OCI_REPO2=f"up/{OTHER}",
            OCI_RO_DATA_TAGS=" ".join(offered.tags),
            OCI_RO_DATA_MANIFESTS=f"{offered.image.digest} {offered.artifact.digest}",
            OCI_RO_DATA_BLOBS=" ".join([*offered.image.blobs, *offered.artifact.blobs]),
            OCI_RO_DATA_REFERRERS=offered.image.digest,
            **{f"OCI_{name}": "false" for name in denied + atomic},
            # Before, its other categories wrote to the registry whatever they were told it held.
            OCI_NAMESPACE=f"up/{REPOSITORY}",
            OCI_TEST_PULL="1",
            OCI_TAG_NAME=offered.tags[0],
            OCI_MANIFEST_DIGEST=offered.image.digest,
            OCI_BLOB_DIGEST=offered.image.config,
        )
        pulled = proxy.references()
    said = verdict(output)
    assert said.failed == 0, failures(output)
    assert said.passed >= 10, output[-4000:]
    assert {offered.image.digest, offered.image.config} <= pulled


def test_an_end_of_a_run_is_understood() -> None:
    summary = "OCI Conformance Result: {}\n  Disabled....: 7\n  Skip....: 1\n  Pass....: 850\n  FAIL....: {}\n"
    rest = "  Error....: 1\n  Total....: 900\n\nAPI conformance:\n  Tag listing....: Pass\n  Ping....: FAIL\n"
    assert verdict(summary.format("FAIL", 2) + rest) == Verdict(850, 3, before=False)
    ginkgo = "\x1b[1mRan 79 of 80 Specs\x1b[0m\n\x1b[31mFAIL!\x1b[0m -- {} | \x1b[91m4 Failed\x1b[0m | 0 Pending\n"
    assert verdict(ginkgo.format("\x1b[32m75 Passed\x1b[0m")) == Verdict(75, 4, before=True)
    with pytest.raises(AssertionError, match="came to no end"):
        verdict("panic: runtime error")
