"""Several servers on one store, each answering from its memory: every write is seen by the next read through any."""

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.documents import image
from tests.support.images import OCI_MANIFEST, digest_of
from tests.support.pullthrough import Pullthrough
from tests.support.pushes import Answer

pytestmark = pytest.mark.e2e

SERVERS = 3
MOVES = 150
Step = tuple[str, int, str | None, int | None]
"""What is done, through which server, to which tag and to which image."""
TAGS = ("latest", "v1")
CONFIGS = tuple(json.dumps({"config": number}).encode() for number in range(2))
IMAGES = tuple(image(config, annotations={"of": str(number)}) for number, config in enumerate(CONFIGS))
TARGET = "AmazonEC2ContainerRegistry_V20150921."

servers_ = st.integers(0, SERVERS - 1)
tags_ = st.sampled_from(TAGS)
images_ = st.sampled_from(range(len(IMAGES)))
STEPS = st.one_of(
    st.tuples(st.just("push"), servers_, tags_, images_),
    st.tuples(st.just("delete tag"), servers_, tags_, st.none()),
    st.tuples(st.just("delete manifest"), servers_, st.none(), images_),
    st.tuples(st.just("delete blob"), servers_, st.none(), images_),
    st.tuples(st.just("remove image"), servers_, tags_, st.none()),
    st.tuples(st.just("remove repository"), servers_, st.none(), st.none()),
    st.tuples(st.just("turn mutability"), servers_, st.none(), st.none()),
)


class Client:
    """A client of one server, over one connection that is kept. Use as a context manager."""

    def __init__(self, server: Pullthrough) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self._connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self._connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())

    def call(self, operation: str, **values: object) -> Answer:
        """Call an operation of the ECR API."""
        target = {"X_Amz_Target": TARGET + operation, "Content_Type": "application/x-amz-json-1.1"}
        return self.request("POST", "/", json.dumps(values).encode(), **target)

    def put(self, repository: str, number: int, tag: str) -> Answer:
        return self.request("PUT", f"/v2/{repository}/manifests/{tag}", IMAGES[number], Content_Type=OCI_MANIFEST)

    def put_blob(self, repository: str, content: bytes) -> None:
        path = f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}"
        answer = self.request("POST", path, content, Content_Type="application/octet-stream")
        assert answer.status == 201, answer

    def warm(self) -> Counter[str]:
        """Return how often answers came from memory, by kind."""
        text = self.request("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith("pullthrough_warm_answers_total")]
        hits: Counter[str] = Counter()
        for line in lines:
            if 'outcome="hit"' in line:  # one a kind and worker
                hits[line.split('kind="')[1].split('"')[0]] += int(float(line.split()[-1]))
        return hits


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pullthrough]]:
    folder = tmp_path_factory.mktemp("coherence")
    with ExitStack() as stack:
        yield [
            stack.enter_context(Pullthrough(folder / f"server-{number}", {}, store=folder / "store"))
            for number in range(SERVERS)
        ]


@pytest.fixture(scope="module")
def clients(running: list[Pullthrough]) -> Iterator[list[Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Client(server)) for server in running]


@dataclass
class World:
    """A repository as it must be by all that was acknowledged."""

    name: str
    clients: list[Client]
    tags: dict[str, int] = field(default_factory=dict)
    manifests: set[int] = field(default_factory=set)
    blobs: set[int] = field(default_factory=set)
    immutable: bool = False

    def look(self) -> None:
        """Read everything through every server, twice: the second time from memory, where nothing was written."""
        for client, _ in itertools.product(self.clients, range(2)):
            for tag in TAGS:
                self._expect(client, f"manifests/{tag}", self.tags.get(tag), IMAGES)
            for number in range(len(IMAGES)):
                held = number if number in self.manifests else None
                self._expect(client, f"manifests/{digest_of(IMAGES[number])}", held, IMAGES)
                proven = number if number in self.blobs else None
                self._expect(client, f"blobs/{digest_of(CONFIGS[number])}", proven, CONFIGS)

    def _expect(self, client: Client, path: str, number: int | None, contents: tuple[bytes, ...]) -> None:
        for method in ("GET", "HEAD"):
            answer = client.request(method, f"/v2/{self.name}/{path}")
            if number is None:
                assert answer.status == 404, (method, path, answer)
            else:
                assert answer.status == 200, (method, path, answer)
                assert answer.headers["Docker-Content-Digest"] == digest_of(contents[number])
                assert answer.headers["Content-Length"] == str(len(contents[number]))
                assert answer.headers["Cache-Status"] == "pullthrough; hit"
                assert method == "HEAD" or answer.body == contents[number]

    def do(self, step: Step) -> None:
        """Write through one server, and remember what it acknowledged."""
        what, through, tag, number = step
        deed = getattr(self, what.replace(" ", "_"))
        deed(self.clients[through], *[value for value in (tag, number) if value is not None])

    def push(self, client: Client, tag: str, number: int) -> None:
        client.put_blob(self.name, CONFIGS[number])
        self.blobs.add(number)
        answer = client.put(self.name, number, tag)
        kept = self.immutable and self.tags.get(tag, number) != number
        assert answer.status == (400 if kept else 201), answer
        if not kept:
            self.tags[tag] = number
            self.manifests.add(number)

    def delete_tag(self, client: Client, tag: str) -> None:
        answer = client.request("DELETE", f"/v2/{self.name}/manifests/{tag}")
        assert answer.status == (202 if self.tags.pop(tag, None) is not None else 404), answer

    def delete_manifest(self, client: Client, number: int) -> None:
        answer = client.request("DELETE", f"/v2/{self.name}/manifests/{digest_of(IMAGES[number])}")
        assert answer.status == (202 if number in self.manifests else 404), answer
        self._drop(number)

    def delete_blob(self, client: Client, number: int) -> None:
        answer = client.request("DELETE", f"/v2/{self.name}/blobs/{digest_of(CONFIGS[number])}")
        assert answer.status == (202 if number in self.blobs else 404), answer
        self.blobs.discard(number)

    def remove_image(self, client: Client, tag: str) -> None:
        client.call("BatchDeleteImage", repositoryName=self.name, imageIds=[{"imageTag": tag}])
        on = self.tags.pop(tag, None)
        if on is not None and on not in self.tags.values():
            self._drop(on)

    def remove_repository(self, client: Client) -> None:
        client.call("DeleteRepository", repositoryName=self.name, force=True)
        self.tags, self.manifests, self.blobs, self.immutable = {}, set(), set(), False

    def turn_mutability(self, client: Client) -> None:
        wanted = "MUTABLE" if self.immutable else "IMMUTABLE"
        answer = client.call("PutImageTagMutability", repositoryName=self.name, imageTagMutability=wanted)
        self.immutable ^= answer.status == 200

    def _drop(self, number: int) -> None:
        self.manifests.discard(number)
        self.tags = {tag: on for tag, on in self.tags.items() if on != number}


numbers = itertools.count()


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, min_size=4, max_size=14))
def test_each_write_is_seen_by_the_next_read_through_any_server(clients: list[Client], steps: list[Step]) -> None:
    before = [client.warm() for client in clients]
    world = World(f"team/app-{next(numbers)}", clients)
    world.do(("push", 0, "latest", 0))
    world.look()
    for step in steps:
        world.do(step)
        world.look()

    for client, earlier in zip(clients, before, strict=True):
        now = client.warm()
        assert now["manifest"] > earlier["manifest"]
        assert now["blob"] > earlier["blob"]


class Race:
    """A tag that is moved again and again: `acknowledged` is the last version that its writer was told is in force."""

    def __init__(self) -> None:
        self.raw = [image(b"{}", annotations={"version": str(number)}) for number in range(MOVES)]
        self.versions = {digest_of(content): number for number, content in enumerate(self.raw)}
        self.acknowledged = -1
        self.ended = threading.Event()
        self.answers: list[int] = []
        self.old: list[tuple[int, int]] = []

    def move(self, client: Client, number: int) -> None:
        answer = client.request("PUT", "/v2/team/raced/manifests/latest", self.raw[number], Content_Type=OCI_MANIFEST)
        assert answer.status == 201, answer
        self.acknowledged = number

    def read(self, server: Pullthrough) -> None:
        """Ask without a pause, and note each answer that was out of date when its request began."""
        answers = 0
        with Client(server) as client:
            while not self.ended.is_set():
                least = self.acknowledged
                seen = self.versions[digest_of(client.request("GET", "/v2/team/raced/manifests/latest").body)]
                answers += 1
                if seen < least:
                    self.old.append((seen, least))
        self.answers.append(answers)


def test_no_read_that_begins_after_a_push_was_acknowledged_returns_what_was_before(
    running: list[Pullthrough], clients: list[Client]
) -> None:
    race, writer = Race(), clients[0]
    writer.put_blob("team/raced", b"{}")
    race.move(writer, 0)
    before = [client.warm()["manifest"] for client in clients]
    readers = [threading.Thread(target=race.read, args=(server,)) for server in running]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, MOVES):
            race.move(writer, number)
    finally:
        race.ended.set()
        for reader in readers:
            reader.join()

    assert race.old == []
    assert [answers > 0 for answers in race.answers] == [True] * SERVERS
    after = [client.warm()["manifest"] for client in clients]
    assert all(late > early for early, late in zip(before, after, strict=True))
