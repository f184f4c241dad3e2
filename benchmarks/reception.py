"""How fast are instances received, durably? This node against Orthanc, DCMTK and pynetdicom, in one run.

    python benchmarks/reception.py                     # 400 stills of 480 KB, 1 and 4 senders; 86 MB cines
    python benchmarks/reception.py --repeat 3 --only stills

DCMTK's ``storescu`` pushes the same files to each receiver in turn, so that whatever else the machine does weighs on
all alike; only the ratios of one run mean anything. Afterwards every instance is looked up: in the node's database and
read back from its disk with its digest, in Orthanc by its REST interface, elsewhere as a file. The node and Orthanc
keep a database; DCMTK and pynetdicom only write files, without fsync.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.store.database import Database
from dicom_node.store.spool import is_intact
from dicom_node.store.tables import AssociationRow, InstanceRow

STORESCU, STORESCP, ORTHANC = "/usr/bin/storescu", "/usr/bin/storescp", "/usr/sbin/Orthanc"
# DCMTK, and Orthanc which is built on it, stall 40 ms per instance without the first, as senders and as receivers.
DCMTK_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": "262144"}
STARTED_WITHIN_S = 60
AE_TITLE = "RECEIVER"

console = Console()


@dataclass(frozen=True)
class Load:
    """What is sent, in how many folders; each folder is a study."""

    name: str
    instances: int
    frames: int
    rows: int
    columns: int
    samples: int

    @property
    def bytes_each(self) -> int:
        """Size of the pixel data of one instance."""
        return self.frames * self.rows * self.columns * self.samples


LOADS = {
    "stills": Load("stills", 400, 1, 600, 800, 1),
    "cines": Load("cines", 8, 60, 600, 800, 3),
}
SENDERS = {"stills": (1, 4), "cines": (1, 4)}


@dataclass(frozen=True)
class Receiver:
    """A running receiver: its port, and how to count what it really keeps."""

    name: str
    port: int
    kept: Callable[[], int]
    processes: Sequence[int]


def write_load(load: Load, folder: Path, folders: int) -> list[Path]:
    """Make the instances: noise, so that nothing can be compressed or shared."""
    noise = np.random.default_rng(0)
    roots = []
    for index in range(folders):
        root = folder / f"{load.name}-{folders}-{index}"
        root.mkdir()
        roots.append(root)
        study, series = generate_uid(), generate_uid()
        for number in range(load.instances // folders):
            pixels = noise.integers(0, 256, load.bytes_each, np.uint8).tobytes()
            _instance(load, study, series, number, pixels).save_as(root / f"{number}.dcm", enforce_file_format=True)
    return roots


def _instance(load: Load, study: str, series: str, number: int, pixels: bytes) -> Dataset:
    instance = Dataset()
    instance.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1" if load.frames > 1 else "1.2.840.10008.5.1.4.1.1.6.1"
    instance.SOPInstanceUID, instance.StudyInstanceUID, instance.SeriesInstanceUID = generate_uid(), study, series
    instance.ImageType, instance.Modality, instance.InstanceNumber = ["ORIGINAL", "PRIMARY"], "US", number
    instance.StudyDate, instance.StudyTime, instance.AccessionNumber, instance.StudyID = "20260101", "120000", "A1", "1"
    instance.Manufacturer, instance.ManufacturerModelName = "Benchmark", "Noise"
    instance.PatientName, instance.PatientID, instance.PatientBirthDate, instance.PatientSex = (
        "Speed^Test",
        "1",
        "",
        "F",
    )
    instance.ReferringPhysicianName, instance.SeriesNumber = "", 1
    instance.SamplesPerPixel = load.samples
    instance.PhotometricInterpretation = "RGB" if load.samples > 1 else "MONOCHROME2"
    if load.samples > 1:
        instance.PlanarConfiguration = 0
    if load.frames > 1:
        instance.NumberOfFrames, instance.FrameTime = load.frames, 33
    instance.Rows, instance.Columns = load.rows, load.columns
    instance.BitsAllocated, instance.BitsStored, instance.HighBit, instance.PixelRepresentation = 8, 8, 7, 0
    instance.PixelData = pixels
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return instance


@contextmanager
def node(folder: Path, receivers: int) -> Iterator[Receiver]:
    """Start this node's receivers as it does itself: several processes on one port."""
    port = _free_port()
    config = folder / "config.yaml"
    config.write_text(
        f"node: {{ae_title: {AE_TITLE}, data_dir: ./var}}\ndicom: {{port: {port}, receivers: {receivers}}}\n"
        "accept_unknown_scanners: true\n",
        encoding="utf-8",
    )
    (folder / "var").mkdir()
    url = f"sqlite:///{folder / 'var' / 'node.sqlite'}"
    commands = [[sys.executable, __file__, "--serve", str(config), f"receiver-{n}"] for n in range(receivers)]
    database = Database(url)
    database.upgrade()

    def kept() -> int:
        with database.read() as session:
            rows = session.query(InstanceRow.path, InstanceRow.sha256).filter_by(state="stored").all()
            assert not session.query(AssociationRow).filter_by(outcome="open").count(), "an association is still open"
        return sum(is_intact(folder / "var", path, sha256) for path, sha256 in rows)

    with _running(commands, port) as processes:
        yield Receiver(f"dicom-node ({receivers})", port, kept, processes)
    database.close()


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Start Orthanc as Debian ships it: SQLite index, storage area flushed to the disk."""
    port, web = _free_port(), _free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "HttpPort": web,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings), encoding="utf-8")

    def kept() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/statistics") as answer:
            return int(json.load(answer)["CountInstances"])

    with _running([[ORTHANC, str(config)]], port) as processes:
        yield Receiver("Orthanc", port, kept, processes)


@contextmanager
def dcmtk(folder: Path) -> Iterator[Receiver]:
    """Start DCMTK's storescp with a process for each association."""
    port = _free_port()
    command = [STORESCP, "--fork", "-aet", AE_TITLE, "-pdu", "131072", "-od", str(folder), str(port)]
    with _running([command], port) as processes:
        yield Receiver("DCMTK --fork", port, lambda: _files(folder), processes)


@contextmanager
def pynetdicom(folder: Path) -> Iterator[Receiver]:
    """Start pynetdicom's storescp."""
    port = _free_port()
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-aet", AE_TITLE, "-od", str(folder), "-q"]
    with _running([command], port) as processes:
        yield Receiver("pynetdicom", port, lambda: _files(folder), processes)


def measure(receiver: Receiver, roots: Sequence[Path], load: Load) -> tuple[float, int]:
    """Push every folder at once, a sender for each; gives seconds, and the receiver's largest memory in bytes."""
    memory = _Memory(receiver.processes)
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [STORESCU, "-R", "-pdu", "131072", "-aec", AE_TITLE, "127.0.0.1", str(receiver.port), "+sd", str(root)],
            env=DCMTK_ENVIRONMENT,
        )
        for root in roots
    ]
    failed = [sender.args for sender in senders if sender.wait() != 0]
    seconds = time.perf_counter() - started
    largest = memory.stop()
    assert not failed, f"senders failed: {failed}"
    kept = receiver.kept()
    assert kept == load.instances, f"{receiver.name} keeps {kept} of {load.instances} instances"
    return seconds, largest


class _Memory:
    """The largest resident memory of any of some processes, looked at while they work."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._processes = processes
        self._largest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._largest

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for process in self._processes:
                try:
                    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
                except OSError:
                    continue
                self._largest = max(self._largest, pages * os.sysconf("SC_PAGE_SIZE"))


@contextmanager
def _running(commands: Sequence[Sequence[str]], port: int) -> Iterator[list[int]]:
    quiet = subprocess.DEVNULL
    children = [subprocess.Popen(c, stdout=quiet, stderr=quiet, env=DCMTK_ENVIRONMENT) for c in commands]
    try:
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not _listens(port):
            assert time.monotonic() < deadline, f"{commands[0]} does not listen"
            assert all(child.poll() is None for child in children), f"{commands[0]} ended"
            time.sleep(0.05)
        time.sleep(2)  # the other processes on that port, and whatever a server does after it listens
        yield [child.pid for child in children]
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _files(folder: Path) -> int:
    return sum(file.is_file() for file in folder.iterdir())


def serve(config_file: Path, receiver: str) -> None:
    """Be one receiver process of the node, until SIGTERM."""
    from datetime import UTC, datetime  # noqa: PLC0415 - only the child pays for these

    from dicom_node.bootstrap import open_audit  # noqa: PLC0415
    from dicom_node.config import load_config  # noqa: PLC0415
    from dicom_node.dimse.listener import Listener  # noqa: PLC0415
    from dicom_node.engine.queue import JobQueue  # noqa: PLC0415
    from dicom_node.pipeline.intake import Intake  # noqa: PLC0415
    from dicom_node.results.loop_guard import is_own_result  # noqa: PLC0415
    from dicom_node.store.spool import Spool  # noqa: PLC0415

    config = load_config(config_file)
    queue = JobQueue(config.database_url)
    queue.migrate()
    intake = Intake(
        database=Database(config.database_url),
        spool=Spool(config.node.data_dir, receiver, min_free_bytes=lambda: int(config.retention.min_free_gb * 1e9)),
        current_config=lambda: config,
        enqueue=queue.enqueue,
        receiver=receiver,
        now=lambda: datetime.now(UTC),
        is_own_result=is_own_result,
        on_commitment_report=lambda *_: None,
        audit=open_audit(config, receiver),
    )
    listener = Listener(lambda: config, intake.handlers())
    listener.start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    listener.stop()


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=LOADS, action="append")
    parser.add_argument("--senders", type=int, action="append")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument(
        "--receivers", type=int, action="append", help="receiver processes of the node; may be repeated"
    )
    parser.add_argument("--without", action="append", default=[], choices=("dcmtk", "pynetdicom"))
    parser.add_argument("--folder", type=Path, help="where to work; a real disk, not a memory file system")
    parser.add_argument("--serve", nargs=2, metavar=("CONFIG", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), arguments.serve[1])
        return
    peers: list[tuple[str, Callable[[Path], object]]] = [("orthanc", orthanc)]
    peers += [
        (name, peer) for name, peer in (("dcmtk", dcmtk), ("pynetdicom", pynetdicom)) if name not in arguments.without
    ]
    nodes = [(f"node-{n}", lambda folder, n=n: node(folder, n)) for n in arguments.receivers or (2,)]
    table = Table(
        "load", "senders", "receiver", "per s", "MB/s", "ratio", "RSS, MB", title="Reception, ratio to Orthanc"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        base = Path(name)
        for load in (LOADS[key] for key in arguments.only or LOADS):
            for senders in arguments.senders or SENDERS[load.name]:
                roots = write_load(load, base, senders)
                seconds: dict[str, list[float]] = {}
                memory: dict[str, int] = {}
                for _ in range(arguments.repeat):
                    for key, start in [*nodes, *peers]:
                        folder = base / key
                        folder.mkdir()
                        with start(folder) as receiver:  # type: ignore[attr-defined]
                            took, largest = measure(receiver, roots, load)
                        shutil.rmtree(folder)
                        seconds.setdefault(receiver.name, []).append(took)
                        memory[receiver.name] = max(memory.get(receiver.name, 0), largest)
                for root in roots:
                    shutil.rmtree(root)
                _add_rows(table, load, senders, seconds, memory)
    console.print(table)


def _add_rows(table: Table, load: Load, senders: int, seconds: dict[str, list[float]], memory: dict[str, int]) -> None:
    reference = statistics.median(seconds["Orthanc"])
    for name, taken in seconds.items():
        median = statistics.median(taken)
        rate = load.instances / median
        table.add_row(
            load.name,
            str(senders),
            name,
            f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}",
            f"{rate * load.bytes_each / 1e6:.0f}",
            f"{reference / median:.2f}x",
            f"{memory[name] / 1e6:.0f}",
        )
    table.add_section()


if __name__ == "__main__":
    main()
