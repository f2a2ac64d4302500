"""Signatures of requests to the AWS APIs: Signature Version 4, in the header or in the query of a presigned URL.

Here is decided whether one is good: of a known key, for this place and time, over the request that came.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web
from botocore.awsrequest import AWSRequest

from proxy.core.access.ports import AccessKeys
from proxy.core.ports import Clock
from proxy.http.aws.canonical import PAYLOAD, Signer, check_headers, host_of, signed_requests
from proxy.http.aws.claims import Claim, Credential, invalid, read_claim
from proxy.model.access_keys import AccessKey
from proxy.model.api_errors import ApiError, ApiErrorCode

SKEW: Final = timedelta(minutes=5)
"""How far the clocks of client and server may be apart."""

_TERMINATOR: Final = "aws4_request"
_ISO: Final = "%Y%m%dT%H%M%SZ"

# Where STS is asked without a region of its own, SDKs sign for these.
_GLOBAL: Final[Mapping[str, frozenset[str]]] = {"sts": frozenset({"us-east-1", "aws-global"})}

_TOKEN: Final = "x-amz-security-token"  # noqa: S105 - the name of a header


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed request whose body is still to come: key, scope and date are in order."""

    key: AccessKey
    service: str
    region: str
    timestamp: str
    signature: str
    requests: tuple[AWSRequest, ...]
    payload: str | None

    def verify(self, body: bytes) -> None:
        """Raise `ApiError` InvalidSignatureException unless the owner of the key signed the request with this body.

        A large body is hashed for long: not on the event loop.
        """
        payload = hashlib.sha256(body).hexdigest()
        if self.payload not in {None, payload}:
            raise self._mismatch("The body does not have the hash that X-Amz-Content-Sha256 tells. ")
        signer = Signer(self.key, self.service, self.region, payload)
        # Each is computed, whichever fits: what differs is public, and the time tells nothing of it.
        fitting = [hmac.compare_digest(signer.sign(each), self.signature) for each in self.requests]
        if not any(fitting):
            raise self._mismatch("")

    def _mismatch(self, reason: str) -> ApiError:
        code = ApiErrorCode.InvalidSignatureException
        hosts = ", ".join(each.headers.get("host", "none") for each in self.requests)
        return ApiError(code, f"{reason}{code.message}", debug=f"access key {self.key.id}; signed for one of: {hosts}?")


class Signatures:
    """Verify signatures by the access keys of one registry, which is in `region`.

    `public_url` is the origin under which clients reach the registry, where a proxy may pass on another Host.
    """

    def __init__(self, keys: AccessKeys, clock: Clock, region: str, public_url: str | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._region = region
        self._public = host_of(public_url) if public_url is not None else None

    def examine(self, request: web.Request, service: str) -> Signed | None:
        """Return the signature of a request to `service`, or None where it claims to have none.

        All is checked that the body is not needed for. Raises `ApiError`: IncompleteSignatureException for what is no
        signature, InvalidSignatureException for one of another place or time or of too little, and
        UnrecognizedClientException for a key that there is not.
        """
        claim = read_claim(request)
        if claim is None:
            return None
        scope = claim.credential
        self._check_scope(scope, service)
        if scope.date != claim.timestamp[:8]:
            raise invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{scope.date}' != '{claim.timestamp[:8]}', from '{claim.timestamp}'."
            )
        self._check_time(claim)
        check_headers(request, claim)
        found = self._keys.find(scope.key)
        # Keys of this registry are permanent: none has a token.
        if found is None or _TOKEN in request.headers or any(name.lower() == _TOKEN for name, _ in claim.query):
            raise ApiError(ApiErrorCode.UnrecognizedClientException, debug=f"access key {scope.key}")
        return Signed(
            found,
            service,
            scope.region,
            claim.timestamp,
            claim.signature,
            signed_requests(request, claim, self._public),
            request.headers.get(PAYLOAD),
        )

    def _check_scope(self, scope: Credential, service: str) -> None:
        if scope.terminator != _TERMINATOR:
            raise invalid(
                f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{scope.terminator}'."
            )
        if scope.region != self._region and scope.region not in _GLOBAL.get(service, ()):
            raise invalid(f"Credential should be scoped to a valid region, not '{scope.region}'.")
        if scope.service != service:
            raise invalid(f"Credential should be scoped to correct service: '{service}'.")

    def _check_time(self, claim: Claim) -> None:
        now, began, minutes = datetime.fromtimestamp(self._clock.now(), UTC), claim.time, SKEW.seconds // 60
        if began > now + SKEW:
            raise invalid(
                f"Signature not yet current: {claim.timestamp} is still later than {now + SKEW:{_ISO}} "
                f"({now:{_ISO}} + {minutes} min.)"
            )
        if claim.expires is not None:
            ended = began + timedelta(seconds=claim.expires)
            if ended < now:
                raise invalid(f"Signature expired: {ended:{_ISO}} is now earlier than {now:{_ISO}}")
        elif began < now - SKEW:
            raise invalid(
                f"Signature expired: {claim.timestamp} is now earlier than {now - SKEW:{_ISO}} "
                f"({now:{_ISO}} - {minutes} min.)"
            )
