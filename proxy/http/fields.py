"""The header fields that every answer carries, whatever it is."""

from aiohttp import hdrs, web

from proxy.config.settings import ServerSettings

# A year. Nothing is said of the host's subdomains: they need not be ours.
_STRICT_TRANSPORT = "max-age=31536000"

FIELDS = web.AppKey("fields", dict[str, str])


def constant_fields(server: ServerSettings) -> dict[str, str]:
    """Return the fields that do not depend on the request.

    Nothing here is a page: browsers shall render nothing of an answer, load nothing for it, show it in no frame, hand
    it to no other origin, and tell no other site from where a link was followed. There is no CORS field: scripts of
    other origins are to read nothing.
    """
    fields = {
        "Docker-Distribution-API-Version": "registry/2.0",
        hdrs.SERVER: "pullthrough",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if server.tls is not None and (server.public_url or "").startswith("https://"):
        # RFC 6797 §7.2 allows it over TLS only, and §8.3 makes it hold for every port of the host. So it takes somebody
        # who says that https is how the host is reached: a browser that met a trial on localhost or on a shared machine
        # would refuse every plain service beside it for a year. Where a proxy speaks TLS, the proxy says it.
        fields["Strict-Transport-Security"] = _STRICT_TRANSPORT
    return fields
