"""quay.io: converts manifests whose type is not in Accept, tells of expired tags, redirects with 302 and a web page."""

from collections.abc import Iterable
from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import SCHEMA1, Blob, Content, Manifest, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, failure, page, redirect
from tests.emulators.storage import AWS, Storage, quay_query
from tests.emulators.tokens import scopes_of, well_formed


class Quay(BearerEmulator):
    """``quay.io``. `bursts` is nginx's limit of requests, not enforced until a test says so."""

    kind = "quay"
    rule_prefix = "quay"
    host = "quay.io"
    public_repository = "prometheus/node-exporter"
    private_repository = "acme/app"
    token_hosts = ("quay.io",)
    cdn_hosts = ("cdn01.quay.io", "cdn02.quay.io", "cdn03.quay.io")
    realm = "https://quay.io/v2/auth"
    service = "quay.io"
    token_lifetime = 3600.0
    has_referrers = True
    link_lifetime: ClassVar[float] = 600.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.page = self.first_page = 100
        self.bursts = Limit(self.clock, 5, 1, enforced=False)
        self.storages = [
            Storage(host, self.clock, AWS, quay_query, self.link_lifetime, "/quayio-production-s3/sha256/{hex}")
            for host in self.cdn_hosts
        ]
        self.places |= {storage.host: storage.answer for storage in self.storages}

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        scopes = scopes_of(request)
        if user is None and not scopes:
            return failure(401, "UNAUTHORIZED", "Anonymous access is not allowed without a scope")
        if not all(well_formed(scope) for scope in scopes):
            return failure(400, "UNSUPPORTED", "Unable to decode repository and actions")
        return None

    def limit(self, request: Request) -> Reply | None:
        if self.bursts.take(request.address):
            return None
        return page(429, "<center><h1>429 Too Many Requests</h1></center><hr><center>nginx/1.22.1</center>")

    def unknown_manifest(self, call: Call, repository: Repository) -> Reply:
        if call.reference in repository.expired:
            message = f"Tag {call.reference} was deleted or has expired. To pull, revive via time machine"
            return failure(404, "TAG_EXPIRED", message, detail={})
        return failure(404, "MANIFEST_UNKNOWN", "manifest unknown", detail={})

    def negotiated(self, call: Call, repository: Repository, found: Manifest) -> Reply | None:
        # By digest it is returned as it is.
        if call.by_digest or found.media_type in {*call.request.accept, SCHEMA1}:
            return None
        return self.converted(call, repository, found) or self.unknown_manifest(call, repository)

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        if call.request.method == "HEAD":
            return self.direct_head(found)
        link = self.storage_of(found).link(found)
        shown = page(302, f'You should be redirected to <a href="{link}">{link}</a>')
        redirected = redirect(link, 302, shown)
        return redirected.with_headers(
            {
                "Docker-Content-Digest": str(found.digest),
                "Accept-Ranges": "bytes",
                "Cache-Control": "max-age=31536000",
            }
        )

    def storage_of(self, found: Blob) -> Storage:
        return self.storages[int(found.digest.encoded, 16) % len(self.storages)]

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Return tags as the database has them: in the order in which they were made."""
        return list(names)

    def tags_link(self, call: Call, size: int, last: str) -> str:
        return f"https://quay.io/v2/{call.name}/tags/list?n={size}&last={last}"

    def referrers(self, call: Call, repository: Repository) -> Reply:
        if repository.find(call.reference) is None:
            return failure(400, "MANIFEST_INVALID", "manifest invalid", detail={"message": "manifest not found"})
        return self.listed_referrers(call, repository)
