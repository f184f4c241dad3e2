"""The node as its users run it: `python -m dicom_node ...` in processes of their own, and the peers around it."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pydicom
import yaml
from conftest import Orthanc, free_port, wait_until
from pydicom import Dataset

STORESCU = "/usr/bin/storescu"  # DCMTK's: pynetdicom puts another of that name into the environment
SCANNER = "SCANNER1"
STATES = ("receiving", "closed", "analysed", "delivered", "committed")
FINDINGS_SR = "1.2.840.10008.5.1.4.1.1.88.33"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
START_S = 180.0
WALK_S = 90.0
MODELS = Path(os.environ.get("DICOM_NODE_MODELS", Path(__file__).parents[2] / "models"))
TASKS = ["planes", "structures", "biometry"]


def environment(**more: str) -> dict[str, str]:
    """Give a plain environment: one thread for each process, so that the machine is not torn between them."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **more}


def cli(
    *arguments: object, timeout_s: float = 300, within: Sequence[str] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, as an argument of the command ``within`` when that is given."""
    command = [*within, sys.executable, "-m", "dicom_node", *map(str, arguments)]
    return subprocess.run(
        command, env=environment(**env), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def without_network(counts: Path) -> list[str]:
    """Give the command within which there is no network, and which writes what was to leave the machine to a file."""
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    return [*own, sys.executable, str(Path(__file__).with_name("no_network.py")), str(counts)]


def done(*arguments: object, **env: str) -> str:
    """Run one command that must succeed; gives what it printed."""
    outcome = cli(*arguments, **env)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def storescu(port: int, files: Sequence[Path], *options: str, calling: str = SCANNER) -> None:
    """Push files or folders with DCMTK, and fail unless every instance was acknowledged."""
    command = [STORESCU, "-v", "-R", "+sd", "+r", *options, "-aet", calling, "-aec", "DICOM_NODE"]
    command += ["127.0.0.1", str(port), *map(str, files)]
    # Without the variable DCMTK waits 40 ms for each instance on loopback.
    outcome = subprocess.run(
        command, env=environment(TCP_NODELAY="1"), capture_output=True, text=True, timeout=120, check=False
    )
    said = outcome.stdout + outcome.stderr
    count = sum(1 for path in files for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    assert outcome.returncode == 0, said
    assert said.count("Received Store Response (Success)") == count, said


def push(port: int, files: Sequence[Path], calling: str = SCANNER) -> None:
    """Push files, each in the transfer syntax that it has: cines as JPEG Baseline, as scanners do."""
    proposals: dict[str, list[Path]] = {}
    for file in files:
        syntax = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
        proposals.setdefault(PROPOSE.get(syntax, ""), []).append(file)
    for option, group in proposals.items():
        storescu(port, group, *([option] if option else []), calling=calling)


#: DCMTK's option that proposes a compressed transfer syntax first; uncompressed ones need none.
PROPOSE = {
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.57": "-xs",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


@dataclass
class Node:
    """One node with a configuration file of its own under ``folder``."""

    folder: Path
    destinations: Sequence[Mapping[str, Any]] = ()
    port: int = field(default_factory=free_port)
    web_port: int = field(default_factory=free_port)
    receivers: int = 1
    quiet_seconds: float = 1.5
    database_url: str | None = None
    sections: Mapping[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config.yaml"

    @property
    def url(self) -> str:
        """The database."""
        return self.database_url or f"sqlite:///{self.folder / 'var' / 'node.sqlite'}"

    def write_config(self) -> None:
        """Write the configuration file from the fields."""
        settings = {
            "node": {"ae_title": "DICOM_NODE", "data_dir": "var"},
            "dicom": {"port": self.port, "receivers": self.receivers},
            "database": {"url": self.database_url},
            "scanners": [{"ae_title": SCANNER, "quiet_seconds": self.quiet_seconds, "cap_seconds": 120}],
            "destinations": list(self.destinations),
            "analysis": {"device": "cpu", "tasks": TASKS, "max_frames_per_cine": 8},
            "retention": {"min_free_gb": 0.2},
            "web": {"port": self.web_port},
        }
        self.config.write_text(yaml.safe_dump({**settings, **self.sections}, sort_keys=False), encoding="utf-8")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.kill_everything()

    def start(self) -> None:
        """Run `dicom-node serve` until it takes associations and has its models loaded."""
        begun = len(self.log())
        self.process = serve(self.config, self.folder / "log")
        try:
            for what in ("listening as", "worker io-0 runs", "worker analysis-0 runs"):
                self.wait_for_log(what, begun)
        except AssertionError:
            self.kill_everything()
            raise

    def stop(self) -> int:
        """Drain with SIGTERM; gives the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(90)

    def log(self) -> str:
        """Give everything that the node has logged."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait_for_log(self, text: str, begun: int = 0, timeout_s: float = START_S) -> None:
        """Wait until the node logs something, after the character ``begun`` of its log."""
        try:
            wait_until(lambda: text in self.log()[begun:], timeout_s, f"{text!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None

    # Processes

    def pid_of(self, name: str) -> int:
        """Find the process of a role by its name."""
        found = [pid for pid, command in processes_below(self.supervisor_pid) if command[-1:] == [name]]
        assert found, f"{name} does not run"
        return found[0]

    @property
    def supervisor_pid(self) -> int:
        """The process that the person started."""
        assert self.process is not None
        return self.process.pid

    def kill(self, name: str) -> None:
        """Kill the process of a role as the kernel would: without a warning."""
        os.kill(self.pid_of(name), signal.SIGKILL)

    def kill_everything(self) -> None:
        """Let the machine lose its power: no process of the node gets to say anything."""
        assert self.process is not None
        everyone = [pid for pid, _ in processes_below(self.process.pid)]
        for pid in (self.process.pid, *everyone):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everyone), what="the death of all roles")

    # What the node says of itself

    def json(self, *arguments: object) -> Any:
        """Run a command with --json against this node."""
        return json.loads(done(*arguments, "--json", "--config", self.config))

    def study(self, uid: str) -> dict[str, Any]:
        """Give one entry of `study list --json`."""
        return next(study for study in self.json("study", "list") if study["study_instance_uid"] == uid)

    def wait_for(self, uid: str, state: str = "committed", generation: int = 1, timeout_s: float = WALK_S) -> Any:
        """Wait until a study has reached a state, and give its entry of `study list --json`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.wait_for_change(uid, state, generation, deadline)
            study = self.study(uid)
            if study["state"] == state and study["generation"] == generation:
                return study
            assert time.monotonic() < deadline, f"{study}\n{self.log()[-4000:]}"

    def wait_for_change(self, uid: str, state: str, generation: int, deadline: float) -> None:
        """Look closely, without the start of a command for each look."""
        from dicom_node.store import overview  # noqa: PLC0415
        from dicom_node.store.database import Database  # noqa: PLC0415

        database = Database(self.url)
        try:
            while time.monotonic() < deadline:
                with database.read() as session:
                    record = overview.show_study(session, uid)
                if record and (record.line.state, record.line.generation) == (state, generation):
                    return
                time.sleep(0.05)
        finally:
            database.close()
        raise AssertionError(f"{uid} is {record and record.line} and not {state}\n{self.log()[-6000:]}")

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the embedded database."""
        with contextlib.closing(sqlite3.connect(self.folder / "var" / "node.sqlite", timeout=30)) as connection:
            return connection.execute(question, values).fetchall()

    def reports(self, uid: str, version: int) -> list[Dataset]:
        """Read the reports of one version of the answer from the node's own folder."""
        rows = self.ask(
            "SELECT path FROM results WHERE study_instance_uid = ? AND version = ? AND kind = 'findings_sr'",
            uid,
            version,
        )
        return [pydicom.dcmread(self.folder / "var" / path) for (path,) in rows]


def serve(config: Path, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `dicom-node serve`, its output appended to ``log``."""
    command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(config), *options]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment())


def processes_below(pid: int) -> list[tuple[int, list[str]]]:
    """List the children of a process with their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().decode().split("\0")[:-1]
        except (OSError, ValueError):
            continue
        if parent == pid and command:
            found.append((int(folder.name), command))
    return found


# The PACS


def destination(orthanc: Orthanc, name: str = "pacs") -> dict[str, Any]:
    """Describe Orthanc as the configuration of the node does."""
    return {"name": name, "ae_title": orthanc.ae_title, "host": orthanc.host, "port": orthanc.port}


def archived(orthanc: Orthanc, study_instance_uid: str, sop_class_uid: str | None = None) -> list[Dataset]:
    """Read over REST what Orthanc holds of a study: everything, or the objects of one class."""
    held = [
        pydicom.dcmread(io.BytesIO(_rest(orthanc, f"/instances/{instance['ID']}/file")))
        for study in json.loads(_rest(orthanc, "/tools/lookup", study_instance_uid))
        for instance in json.loads(_rest(orthanc, f"{study['Path']}/instances"))
    ]
    return [ds for ds in held if sop_class_uid in (None, ds.SOPClassUID)]


def _rest(orthanc: Orthanc, path: str, body: str | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{orthanc.http_port}{path}", body.encode() if body else None)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


# Reports and studies


def items_of(report: Dataset) -> Iterator[Dataset]:
    """Give every content item of a report, from the top."""
    for item in report.get("ContentSequence", ()):
        yield item
        yield from items_of(item)


def evidence_of(report: Dataset) -> list[str]:
    """List the instances that a report names as its evidence, each as often as it is named."""
    return [
        str(reference.ReferencedSOPInstanceUID)
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(name, ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def predecessors_of(report: Dataset) -> list[str]:
    """List the reports that a report replaces."""
    return [
        str(reference.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def numbers_of(report: Dataset, code: str, unit: str) -> list[float]:
    """List the values that a report gives for a concept in a unit."""
    return [
        float(value.NumericValue)
        for item in items_of(report)
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == code
        for value in item.get("MeasuredValueSequence", ())
        if value.MeasurementUnitsCodeSequence[0].CodeValue == unit
    ]


def study_uid_of(file: Path) -> str:
    """Name the study of a file."""
    return str(pydicom.dcmread(file, stop_before_pixels=True).StudyInstanceUID)


def sop_uid_of(file: Path) -> str:
    """Name the instance in a file."""
    return str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)


@functools.cache
def phantom_studies(folder: Path) -> list[list[Path]]:
    """Let `dicom-node simulate` make its three studies; gives the files of each."""
    done("simulate", "--out", folder)
    studies: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.dcm")):
        studies.setdefault(study_uid_of(file), []).append(file)
    return list(studies.values())


def new_study(files: Sequence[Path], folder: Path, key: str) -> tuple[str, list[Path]]:
    """Copy a study under new UIDs, so that a module may push it again; gives its UID and files."""
    folder.mkdir(parents=True, exist_ok=True)
    uids: dict[str, str] = {}

    def renamed(uid: str) -> str:
        return uids.setdefault(uid, pydicom.uid.generate_uid(prefix="2.25.", entropy_srcs=[key, uid]))

    copies = []
    for number, file in enumerate(files):
        ds = pydicom.dcmread(file)
        ds.StudyInstanceUID = renamed(ds.StudyInstanceUID)
        ds.SeriesInstanceUID = renamed(ds.SeriesInstanceUID)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = renamed(ds.SOPInstanceUID)
        copies.append(folder / f"{number:03d}.dcm")
        ds.save_as(copies[-1], enforce_file_format=True)
    return study_uid_of(copies[0]), copies
