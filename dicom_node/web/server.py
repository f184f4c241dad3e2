"""Running the pages: one uvicorn server that leaves signals to its caller and ends when it is told to."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from dicom_node.errors import ConfigError

logger = logging.getLogger(__name__)


def serve(app: ASGIApp, host: str, port: int, stop: threading.Event) -> None:
    """Serve until ``stop`` is set; requests under way may finish within two seconds.

    :raises ConfigError: when the address cannot be listened on.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"the web pages cannot listen on {host}:{port}: {error.strerror or error}") from error
    server = _QuietServer(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # the node's own logging stays as it is
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )

    def stop_server() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=stop_server, name="web-stop", daemon=True).start()
    logger.info("the pages are at http://%s:%d/", host, port)
    with listener:
        server.run(sockets=[listener])


class _QuietServer(uvicorn.Server):
    """A server without signal handlers: the process that runs the role has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
