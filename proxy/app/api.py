"""The AWS APIs on the services of administrators. Imports botocore, hence is itself imported when they are called."""

from proxy.app.access import Access
from proxy.app.core import Core
from proxy.config.settings import Settings
from proxy.core.clock import SystemClock
from proxy.http.aws.access import Guard
from proxy.http.aws.dispatch import Api
from proxy.http.aws.signatures import Signatures


def make_api(settings: Settings, core: Core, access: Access) -> Api:
    """Return the AWS APIs; blocks for some tenths of a second."""
    public_url, guard = settings.server.public_url, None
    if access.signing is not None:
        guard = Guard(
            Signatures(access.signing.keys, SystemClock(), settings.registry.region, public_url),
            access.authorizer,
            core.rules,
            core.offloader,
            access.rates.admit,
            access.signing.tickets,
        )
    return Api(core.administration, core.offloader, public_url, guard)
