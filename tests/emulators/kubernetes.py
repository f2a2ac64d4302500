"""registry.k8s.io: redirects everything to registries of a cloud, and drops the query on the way."""

import re
from dataclasses import replace
from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Repository
from tests.emulators.emulator import Emulator
from tests.emulators.messages import Call, Reply, Request, Route, document, failure, parse_call, redirect, text, xml
from tests.emulators.storage import GOOGLE, Storage, google_query, serve_blob

_IMAGES = "k8s-artifacts-prod/images/"
_SIGNATURE = re.compile(r"sha256-[0-9a-f]{64}\.(sig|att)")


class Kubernetes(Emulator):
    """``registry.k8s.io``, its S3 bucket and the registries at pkg.dev that have the content.

    Every redirect to a registry names the next region. Blobs in `outside_s3` (the configurations of images, at first)
    come from there too.
    """

    kind = "k8s"
    rule_prefix = "k8s"
    host = "registry.k8s.io"
    public_repository = "ingress-nginx/controller"
    private_repository = None
    cdn_hosts = ("prod-registry-k8s-io-us-east-2.s3.dualstack.us-east-2.amazonaws.com", "storage.googleapis.com")
    regions: ClassVar[tuple[str, ...]] = ("us-west1-docker.pkg.dev", "us-central1-docker.pkg.dev")
    signatures: ClassVar[str] = "europe-docker.pkg.dev"
    other_hosts = (*regions, signatures)
    has_referrers = True

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        images = self.content.public.children
        self.outside_s3 = {image.document["config"]["digest"] for image in images}
        self.redirects = 0
        self.storage = Storage(self.cdn_hosts[1], self.clock, GOOGLE, google_query, 900)
        self.places |= {self.cdn_hosts[0]: self._bucket, self.cdn_hosts[1]: self.storage.answer}
        self.places |= dict.fromkeys(self.other_hosts, self._region)

    def _registry(self, request: Request) -> Reply:
        if request.method not in {"GET", "HEAD"}:
            return text(405, "Only GET and HEAD are allowed.\n")
        if request.path in {"/v2", "/v2/"}:
            return text(200, "")
        call = parse_call(request)
        if request.path == "/v2/_catalog" or call is None:
            return text(404, "_catalog is not supported\n")
        if call.route is Route.BLOB and self._in_s3(call.reference):
            return redirect(f"https://{self.cdn_hosts[0]}/containers/images/{call.reference}")
        path = request.path.removeprefix("/v2/")
        return redirect(f"https://{self._place(call)}/v2/{_IMAGES}{path}")

    def _place(self, call: Call) -> str:
        if call.route is Route.MANIFEST and _SIGNATURE.fullmatch(call.reference):
            return self.signatures
        self.redirects += 1
        return self.regions[self.redirects % len(self.regions)]

    def _in_s3(self, digest: str) -> bool:
        return digest not in self.outside_s3 and self._find(digest) is not None

    def _find(self, digest: str) -> Blob | None:
        found = (repository.find_blob(digest) for repository in self.repositories.values())
        return next((blob for blob in found if blob is not None), None)

    def _bucket(self, request: Request) -> Reply:
        """Serve the public bucket: nothing is signed, and no other authorization is understood."""
        if request.authorization is not None:
            return xml(400, "InvalidArgument", "Unsupported Authorization Type")
        found = self._find(request.path.removeprefix("/containers/images/"))
        return serve_blob(request, found) if found is not None else xml(403, "AccessDenied", "Access Denied")

    def _region(self, request: Request) -> Reply:
        """Answer as Artifact Registry does: public content goes to who has no token, and to nobody with a wrong one."""
        realm = f'Bearer realm="https://{request.host}/v2/token"'
        if request.path in {"/v2", "/v2/"} or request.authorization is not None:
            return failure(401, "UNAUTHORIZED", "Unauthenticated request.").with_headers({"WWW-Authenticate": realm})
        call = parse_call(request)
        if call is None or not call.name.startswith(_IMAGES):
            return failure(404, "NAME_UNKNOWN", "Repository not found.")
        # Nothing distinguishes a signature's registry but what is asked of it.
        return self.serve(replace(call, name=call.name.removeprefix(_IMAGES)))

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        if call.request.method == "HEAD":
            return self.direct_head(found)
        return redirect(self.storage.link(found), 302)

    def tags_reply(self, call: Call, repository: Repository, shown: list[str]) -> Reply:
        manifests = {
            str(digest): {"imageSizeBytes": str(manifest.size), "mediaType": manifest.media_type, "tag": []}
            for digest, manifest in repository.manifests.items()
        }
        return document({"child": [], "manifest": manifests, "name": f"{_IMAGES}{call.name}", "tags": shown})

    def tags_link(self, call: Call, size: int, last: str) -> str:
        return f"/v2/{_IMAGES}{call.name}/tags/list?n={size}&last={last}"

    def referrers(self, call: Call, repository: Repository) -> Reply:
        return self.listed_referrers(call, repository)
