"""What every answer of the web server obeys: asked for under our own name, and nothing foreign runs in the page."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.config import Config

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Refuses requests under foreign host names and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, current_config: Callable[[], Config]) -> None:
        self.app = app
        self.current_config = current_config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        asked_for = Headers(scope=scope).get("host", "")
        app = self.app if is_own_name(asked_for, self.current_config().web.host) else _FOREIGN
        await app(scope, receive, send_with_headers)


_FOREIGN = PlainTextResponse("This is not the name of this node: use the host of section web in config.yaml.\n", 400)


def is_own_name(host_header: str, bound_to: str) -> bool:
    """Say whether a Host header names this server (RFC 9110 7.2); a foreign name is DNS rebinding.

    Own names are the configured host and those of the loopback. A server bound to every address (``0.0.0.0``, ``::``)
    also answers to the machine's name and to any address: an address cannot be rebound.
    """
    try:
        name = urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return False
    if name in _OWN_NAMES or name == bound_to.strip("[]").lower():
        return True
    if bound_to not in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not bound to
        return False
    return name == socket.gethostname().lower() or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
