"""Docker Hub: pulls are counted, blobs lie at three delivery networks, 401 means private or absent."""

from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Manifest, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, Route, failure, redirect, text
from tests.emulators.storage import AWS, Storage, aws_query, cloudflare_query, cloudfront_query

_PULL_LIMIT = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"


class DockerHub(BearerEmulator):
    """``registry-1.docker.io``.

    `pulls` is the limit of pulls, a manifest GET each; accounts in `unlimited` have none. `abuse` is the limit of
    requests of any kind, not enforced until a test says so.
    """

    kind = "docker-hub"
    rule_prefix = "docker-hub"
    host = "registry-1.docker.io"
    public_repository = "library/alpine"
    private_repository = "acme/app"
    token_hosts = ("auth.docker.io",)
    cdn_hosts = (
        "production.cloudflare.docker.com",
        "production.cloudfront.docker.com",
        "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
    )
    other_hosts = ("docker.io", "www.docker.com")
    realm = "https://auth.docker.io/token"
    service = "registry.docker.io"
    token_fields = ("token", "access_token", "expires_in", "issued_at")
    token_oauth = True
    link_lifetime: ClassVar[float] = 20 * 60.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.pulls = Limit(self.clock, 100, 21600)
        self.abuse = Limit(self.clock, 50, 1, enforced=False)
        self.unlimited: set[str] = set()
        queries = (cloudflare_query, cloudfront_query, aws_query)
        self.storages = [
            Storage(host, self.clock, AWS, query, self.link_lifetime, "/registry-v2/blobs/sha256/{hex}/data")
            for host, query in zip(self.cdn_hosts, queries, strict=True)
        ]
        self.places |= {storage.host: storage.answer for storage in self.storages}
        self.places |= {
            "auth.docker.io": self._registry,
            "docker.io": lambda _: redirect("https://www.docker.com/", 301),
            "www.docker.com": lambda _: text(200, "Docker: Accelerated Container Application Development"),
        }

    def limit(self, request: Request) -> Reply | None:
        return None if self.abuse.take(request.address) else text(429, "Too Many Requests")

    def serve(self, call: Call) -> Reply:
        if call.route is not Route.MANIFEST:
            return super().serve(call)
        user = self.user(call.request)
        if user is not None and user in self.unlimited:
            return super().serve(call)
        puller = user or call.request.address
        if call.request.method == "GET" and not self.pulls.take(puller):
            refusal = failure(429, "TOOMANYREQUESTS", _PULL_LIMIT)
            return self._counted(refusal, puller)
        return self._counted(super().serve(call), puller)

    def _counted(self, answered: Reply, puller: str) -> Reply:
        window = f"w={self.pulls.seconds:.0f}"
        return answered.with_headers(
            {
                "ratelimit-limit": f"{self.pulls.most};{window}",
                "ratelimit-remaining": f"{self.pulls.left(puller)};{window}",
                "docker-ratelimit-source": puller,
            }
        )

    def negotiated(self, call: Call, repository: Repository, found: Manifest) -> Reply | None:
        if found.media_type not in call.request.accept:
            return self.converted(call, repository, found)
        return None

    def manifest_reply(self, call: Call, found: Manifest) -> Reply:
        whole = super().manifest_reply(call, found)
        if call.request.headers.get("If-None-Match") == whole.header("ETag"):
            return Reply(304, whole.headers)
        return whole

    def storage_of(self, found: Blob) -> Storage:
        return self.storages[int(found.digest.encoded, 16) % len(self.storages)]

    def tags_link(self, call: Call, size: int, last: str) -> str:
        return f"/v2/{call.name}/tags/list?last={last}&n={size}"
