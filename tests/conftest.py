"""What many tests share: databases of both kinds, a real Orthanc, free ports, and waiting for something to happen."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # synthetic, fake_pacs and their like are imported by name

POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
ORTHANC = "/usr/sbin/Orthanc"
ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")


def pytest_configure(config: pytest.Config) -> None:
    """Let one thing pass: pynetdicom leaves the socket of a refused connection to the garbage collector."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    )


def free_port() -> int:
    """Give a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], timeout_s: float = 20, what: str = "it") -> None:
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.02)


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run a private PostgreSQL cluster on loopback; gives the URL of its empty database."""
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-pg-"))
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)
    port = free_port()

    def run(*command: str) -> None:
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    run(str(POSTGRESQL / "initdb"), "-D", data, "-U", "node", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200"
    run(str(POSTGRESQL / "pg_ctl"), "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://node@127.0.0.1:{port}/postgres"
    finally:
        run(str(POSTGRESQL / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Give a private PostgreSQL for all tests."""
    with run_postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Give the folder of real images, or skip: they are not part of the project."""
    folder = Path(os.environ.get("DICOM_NODE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real images are not at {folder} (DICOM_NODE_DATA)")
    return folder


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Name a database file of its own."""
    return f"sqlite:///{tmp_path / 'node.sqlite'}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """Create a database of its own on the private server."""
    return new_database(postgresql_server)


def new_database(server: str) -> str:
    """Create an empty database on a server; gives its URL."""
    name = f"node_{uuid.uuid4().hex}"
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.removesuffix("postgres") + name


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give an empty database, once of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc: a real PACS with storage commitment."""

    ae_title: str
    host: str
    port: int
    http_port: int
    node_ae_title: str
    node_port: int


@contextmanager
def run_orthanc(folder: Path, plugins: Sequence[str] = ()) -> Iterator[Orthanc]:
    """Run Orthanc on loopback. It knows the node as DICOM_NODE on ``node_port``, where nobody listens yet."""
    it = Orthanc("ORTHANC", "127.0.0.1", free_port(), free_port(), "DICOM_NODE", free_port())
    folder.mkdir(parents=True)
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "Name": "test",
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "storage"),
                "Plugins": [str(ORTHANC_PLUGINS / name) for name in plugins],
                "HttpPort": it.http_port,
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAet": it.ae_title,
                "DicomPort": it.port,
                "DicomCheckCalledAet": True,
                "DicomModalities": {"node": [it.node_ae_title, "127.0.0.1", it.node_port]},
            }
        ),
        encoding="utf-8",
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        wait_until(lambda: process.poll() is not None or listens(it.port), what="Orthanc's start")
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8", errors="replace")
        yield it
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """Give an Orthanc of the test's own."""
    with run_orthanc(tmp_path / "orthanc") as it:
        yield it


def listens(port: int) -> bool:
    """Tell whether somebody takes connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
