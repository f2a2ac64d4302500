"""Amazon ECR Public: tokens for everything, a pull a second, pages that only their own links lead to."""

import base64
import random
from collections.abc import Iterable
from typing import Any, ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, Route, document, failure, text
from tests.emulators.storage import AWS, Storage, cloudfront_query
from tests.emulators.tokens import Account


class EcrPublic(BearerEmulator):
    """``public.ecr.aws``.

    The limits of image pulls a second, `anonymous_pulls` and `account_pulls`, are not enforced until a test says so.
    `data_left` is what anonymous callers may still download, in bytes (None: no end). `referrers_status`: 404 or 405.
    """

    kind = "ecr-public"
    rule_prefix = "ecr-public"
    host = "public.ecr.aws"
    public_repository = "docker/library/alpine"
    private_repository = None
    token_hosts = ("public.ecr.aws",)
    cdn_hosts = ("d5l0dvt14r5h8.cloudfront.net",)
    realm = "https://public.ecr.aws/token/"
    service = "public.ecr.aws"
    token_lifetime = 12 * 3600.0
    readable_tokens = False
    link_lifetime: ClassVar[float] = 3600.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.account = Account("AWS", "ecr-public-password")
        self.accounts = {self.account.username: self.account.password}
        self.anonymous_pulls = Limit(self.clock, 1, 1, enforced=False)
        self.account_pulls = Limit(self.clock, 10, 1, enforced=False)
        self.data_left: int | None = None
        self.referrers_status = 404
        self.storage = Storage(self.cdn_hosts[0], self.clock, AWS, cloudfront_query, self.link_lifetime, "/{digest}")
        self.places |= {self.storage.host: self.storage.answer}

    def permits(self, claims: dict[str, Any], call: Call) -> bool:
        """Take any token: they are not bound to a repository."""
        del claims, call
        return True

    def limit_call(self, call: Call) -> Reply | None:
        user = self.user(call.request)
        limit = self.anonymous_pulls if user is None else self.account_pulls
        pull = call.route is Route.MANIFEST and call.request.method == "GET"
        if pull and not limit.take(user or call.request.address):
            return failure(429, "TOOMANYREQUESTS", "Rate exceeded")
        return None

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        if call.request.method == "HEAD":
            return self.direct_head(found)
        if self.data_left is not None and self.user(call.request) is None:
            if self.data_left < found.size:
                return failure(429, "TOOMANYREQUESTS", "Data limit exceeded")
            self.data_left -= found.size
        return super().blob_reply(call, found)

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage

    def tags(self, call: Call, repository: Repository) -> Reply:
        """Answer a page; `last` must be one that was in a link."""
        names = self.ordered(repository.tags)
        try:
            start = _place(call.request.parameter("last"))
        except ValueError:
            return failure(405, "UNSUPPORTED", "Invalid next token")
        size = min(int(call.request.parameter("n") or self.first_page), self.page)
        answered = self.tags_reply(call, repository, names[start : start + size])
        if start + size >= len(names):
            return answered
        token = base64.b64encode(f"next:{start + size}".encode()).decode().replace("=", "%3D")
        return answered.having(Link=f'<https://{self.host}/v2/{call.name}/tags/list?last={token}&n={size}>; rel="next"')

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Return tags in an order that means nothing, the same each time."""
        shuffled = sorted(names)
        random.Random(1).shuffle(shuffled)  # noqa: S311 - an order, not a secret
        return shuffled

    def tags_reply(self, call: Call, repository: Repository, shown: list[str]) -> Reply:
        del repository
        return document({"name": call.name, "tags": shown}, content_type="text/plain; charset=utf-8")

    def referrers(self, call: Call, repository: Repository) -> Reply:
        del call, repository
        if self.referrers_status == 405:
            return failure(405, "UNSUPPORTED", "The operation is unsupported.")
        return text(404, "404 page not found\n")

    def unknown_path(self, request: Request) -> Reply:
        del request
        return failure(405, "UNSUPPORTED", "The operation is unsupported.")


def _place(token: str | None) -> int:
    """Return the place that a page's token names; raise ValueError for what is none."""
    if token is None:
        return 0
    kind, _, place = base64.b64decode(token, validate=True).decode().partition(":")
    if kind != "next":
        raise ValueError
    return int(place)
