"""Amazon ECR, private: Basic with a password of twelve hours, tag lists of type text/plain in opaque pages."""

import base64
import binascii
import json
from collections.abc import Iterable
from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Repository
from tests.emulators.emulator import Emulator
from tests.emulators.messages import Call, Reply, Request, document, failure, reply, text
from tests.emulators.storage import AWS, Storage, aws_query
from tests.emulators.tokens import Account, WrongPasswordError, parse_basic

_EXPIRED = "Your authorization token has expired. Reauthenticate and try again."


class Ecr(Emulator):
    """A private registry of ECR. `log_in` gives the account a new password, as GetAuthorizationToken would."""

    kind = "ecr"
    rule_prefix = "ecr"
    registry_id: ClassVar[str] = "123456789012"
    host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    public_repository = "base/app"
    private_repository = "team/app"
    cdn_hosts = ("prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",)
    needs_account = True
    has_referrers = True
    password_lifetime: ClassVar[float] = 12 * 3600.0
    link_lifetime: ClassVar[float] = 3600.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.first_page = 100
        self.storage = Storage(
            self.cdn_hosts[0], self.clock, AWS, aws_query, self.link_lifetime, "/a1b2-123456789012-c3d4/{digest}"
        )
        self.places |= {self.storage.host: self.storage.answer}
        self.expiries: dict[str, float] = {}
        self.log_in()

    def log_in(self) -> Account:
        """Give the account a password that is good for twelve hours; older ones stay good for their own."""
        expires = self.clock.now() + self.password_lifetime
        claims = json.dumps({"payload": len(self.expiries), "expiration": int(expires)})
        password = base64.urlsafe_b64encode(claims.encode()).decode()
        self.expiries[password] = expires
        self.account = Account("AWS", password)
        return self.account

    def ping(self, request: Request) -> Reply:
        return self._refusal(request) or reply(200)

    def authorize(self, call: Call) -> Reply | None:
        return self._refusal(call.request)

    def _refusal(self, request: Request) -> Reply | None:
        try:
            account = parse_basic(request.authorization or "")
        except WrongPasswordError:
            account = Account("", "")
        expires = self.expiries.get(account.password) if account.username == "AWS" else None
        if expires is None:
            challenge = f'Basic realm="https://{self.host}/",service="ecr.amazonaws.com"'
            return text(401, "Not Authorized\n", {"WWW-Authenticate": challenge})
        return failure(403, "DENIED", _EXPIRED) if expires <= self.clock.now() else None

    def unknown_name(self, call: Call) -> Reply:
        registry = f"in the registry with id '{self.registry_id}'"
        return failure(404, "NAME_UNKNOWN", f"The repository with name '{call.name}' does not exist {registry}")

    def unknown_manifest(self, call: Call, repository: Repository) -> Reply:
        del call, repository
        return failure(404, "MANIFEST_UNKNOWN", "Requested image not found")

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        return self.direct_head(found) if call.request.method == "HEAD" else super().blob_reply(call, found)

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage

    def tags(self, call: Call, repository: Repository) -> Reply:
        if int(call.request.parameter("n") or 1) > 1000:
            return failure(405, "UNSUPPORTED", "Invalid parameter at 'maxResults': must be between 1 and 1000")
        names = self.ordered(repository.tags)
        try:
            start = int(base64.urlsafe_b64decode(call.request.parameter("last") or "MA=="))
        except (binascii.Error, ValueError):
            return failure(405, "UNSUPPORTED", "Invalid parameter at 'nextToken'")
        size = min(int(call.request.parameter("n") or self.first_page), self.page)
        answered = self.tags_reply(call, repository, names[start : start + size])
        if start + size >= len(names):
            return answered
        token = base64.urlsafe_b64encode(f"{start + size:>40}".encode()).decode().replace("=", "%3D")
        return answered.having(Link=f'<https://{self.host}/v2/{call.name}/tags/list?last={token}&n={size}>; rel="next"')

    def ordered(self, names: Iterable[str]) -> list[str]:
        """Return tags in no order that means anything."""
        return sorted(names, key=lambda name: name[::-1])

    def tags_reply(self, call: Call, repository: Repository, shown: list[str]) -> Reply:
        del repository
        return document({"name": call.name, "tags": shown}, content_type="text/plain; charset=utf-8")

    def referrers(self, call: Call, repository: Repository) -> Reply:
        return self.listed_referrers(call, repository)
