"""The main job on one machine: a scanner sends studies, the node analyses them, a PACS holds committed results.

Real parts throughout: the node is `dicom-node serve` in its own process, on its embedded database; scanner and PACS
speak DICOM to it over loopback.
"""

from __future__ import annotations

import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dicom_node import bootstrap
from dicom_node.admin import open_admin
from dicom_node.dimse.archive import Archive
from dicom_node.dimse.peer import Peer, echo
from dicom_node.dimse.storage_scu import send_instances
from dicom_node.errors import BadInput, DeliveryError, NodeError
from dicom_node.pipeline.files import expand, sop_instance_uid_of, sort_into_studies

SCANNER, NODE, PACS = "DEMO_SCANNER", "DICOM_NODE", "DEMO_PACS"
STATES = ("receiving", "closed", "analysed", "delivered", "committed")
QUIET_S = 2.0
START_S, FINISH_S = 60.0, 150.0
SEED = 7
MARK = ".dicom-node-demo"  #: says that a folder is the demo's own, so that the next demo may empty it
MADE_HERE = ("config.yaml", "node.log", "pacs", "previews", "scanner", "var")


@dataclass(slots=True)
class Sent:
    """One study as the scanner sent it, and when it was first seen in each state."""

    title: str
    study_instance_uid: str
    files: Sequence[Path]
    acknowledged: int = 0
    state: str = "waiting"
    reached_s: dict[str, float] = field(default_factory=dict)
    failure: str | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.state in {"committed", "failed"} or self.failure is not None


def run_demo(console: Console, files: Sequence[Path], pacs: Peer | None, out: Path, port: int | None = None) -> int:
    """Run the demo and print what happened; give the exit code: 0 when every study was committed.

    :param port: where the node listens; a real PACS must know it to report its storage commitment.
    :raises BadInput: no file is of a study, or ``out`` is not the demo's to empty; nothing was removed then.
    """
    own_studies = _own_studies(files) if files else []
    empty_folder(out, [file for study in own_studies for file in study.files])
    node_port = port or _free_port()
    archive = None if pacs else Archive(PACS, out / "pacs", _free_port(), ("127.0.0.1", node_port))
    peer = pacs or Peer(PACS, "127.0.0.1", archive.port if archive else 0)
    node_peer = Peer(NODE, "127.0.0.1", node_port)
    config_path = _write_config(out, node_port, peer)
    studies = own_studies or _simulated_studies(out / "scanner")
    if archive:
        archive.start()
    with (out / "node.log").open("wb") as log:
        node = subprocess.Popen(
            [sys.executable, "-m", "dicom_node", "serve", "--config", str(config_path)], stdout=log, stderr=log
        )
    try:
        with console.status("starting the node"):
            _wait_until_it_answers(node_peer, node, out)
        _send_and_watch(console, studies, node_peer, config_path)
        _print_answers(console, studies, config_path)
        _print_places(console, out, archive, peer)
        if pacs and any(study.state == "delivered" for study in studies):
            console.print(
                f"{pacs} took the results but did not report their commitment to {NODE} on port {node_port} of this "
                "machine. It must know that peer: choose a fixed port with --port and enter it at the PACS."
            )
    finally:
        node.terminate()
        node.wait(90)
        if archive:
            archive.stop()
    return 0 if all(study.state == "committed" for study in studies) else 1


def empty_folder(out: Path, kept: Iterable[Path]) -> None:
    """Make the demo's folder, or empty the one that an earlier demo made: its studies are "already known" to its node.

    :param kept: files that must not be removed.
    :raises BadInput: when the folder is not the demo's own, or holds one of the files; nothing was removed then.
    """
    folder = out.resolve()
    for place in (Path.cwd(), Path.home()):
        if place.resolve().is_relative_to(folder):
            raise BadInput(f"the demo needs a folder of its own, not {folder}: give another with --out")
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{out} is a file: give a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise BadInput(
            f"{out} is not empty and no folder of an earlier demo, so nothing in it was touched: "
            "give another folder with --out, or empty this one yourself"
        )
    for file in kept:
        if file.resolve().is_relative_to(folder):
            raise BadInput(f"{file} lies in {out}, which the demo empties: give another folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Made by `dicom-node demo`, which empties this folder each time.\n", encoding="utf-8")
    for name in MADE_HERE:
        _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _own_studies(files: Sequence[Path]) -> list[Sent]:
    studies, _ = sort_into_studies(expand(files))
    if not studies:
        raise BadInput("none of the files is a DICOM instance of a study")
    return [Sent(study.title, study.study_instance_uid, study.files) for study in studies]


def _simulated_studies(folder: Path) -> list[Sent]:
    from dicom_node.simulator.studies import demo_studies  # noqa: PLC0415

    # New studies each time: a real PACS may still hold those of the last demo.
    studies = demo_studies(folder, SEED, datetime.now(UTC))
    return [Sent(study.description, study.study_instance_uid, study.files) for study in studies]


def _write_config(out: Path, port: int, peer: Peer) -> Path:
    path = out / "config.yaml"
    destination = {"name": "pacs", "ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    local = peer.host in {"127.0.0.1", "localhost", "::1"}
    path.write_text(
        yaml.safe_dump(
            {
                "node": {"ae_title": NODE, "data_dir": "var"},
                # A PACS elsewhere must reach us to report its storage commitment.
                "dicom": {"host": "127.0.0.1" if local else "0.0.0.0", "port": port, "receivers": 1},  # noqa: S104
                "scanners": [{"ae_title": SCANNER, "quiet_seconds": QUIET_S, "cap_seconds": 60}],
                "destinations": [destination],
                "analysis": {"tasks": bootstrap.installed_tasks()},
                "retention": {"min_free_gb": 0.5},
                "web": {"port": _free_port()},
            },
            sort_keys=False,
        ),
        encoding="utf-8",
    )
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_it_answers(node: Peer, process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            echo(node, SCANNER)
        except DeliveryError:
            time.sleep(0.3)
        else:
            return
    raise NodeError(f"the node did not start; its log is {out / 'node.log'}")


def _send_and_watch(console: Console, studies: Sequence[Sent], node: Peer, config_path: Path) -> None:
    """Send in the background, study after study, and show every state as it is reached."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    begun = time.monotonic()
    threading.Thread(target=_send_all, args=(studies, node), daemon=True).start()
    admin = open_admin(config_path)
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        while True:
            now = time.monotonic() - begun
            found = {row["study_instance_uid"]: row for row in admin.list_studies(1000)}
            for study in studies:
                _note_state(study, found.get(study.study_instance_uid), now)
            live.update(_progress(studies, now))
            if all(study.finished for study in studies) or now > FINISH_S:
                return
            time.sleep(0.15)


def _send_all(studies: Iterable[Sent], node: Peer) -> None:
    for study in studies:
        outcomes = send_instances(node, SCANNER, study.files)
        study.acknowledged = sum(outcome.error is None for outcome in outcomes)
        study.failure = next((str(outcome.error) for outcome in outcomes if outcome.error), None)


def _note_state(study: Sent, row: dict[str, Any] | None, now: float) -> None:
    if row is None:
        return
    study.state = row["state"]
    if study.state not in STATES:
        return
    # A fast step may pass between two looks; it was reached all the same.
    for state in STATES[: STATES.index(study.state) + 1]:
        study.reached_s.setdefault(state, now)


def _progress(studies: Sequence[Sent], now: float) -> Group:
    table = Table(title=f"{now:5.1f} s", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("study", overflow="fold")
    for name in ("sent", *STATES):
        table.add_column(name, no_wrap=True)
    for study in studies:
        cells = [
            Text(f"{study.reached_s[state]:.1f} s ✔", style="green")
            if state in study.reached_s
            else Text("·", style="dim")
            for state in STATES
        ]
        title = Text(study.title)
        if study.failure or study.state == "failed":
            title.append(f"  {study.failure or 'failed'}", style="red")
        table.add_row(title, f"{study.acknowledged}/{len(study.files)}", *cells)
    return Group(table)


def _print_answers(console: Console, studies: Sequence[Sent], config_path: Path) -> None:
    admin = open_admin(config_path)
    for study in studies:
        if study.state not in {"analysed", "delivered", "committed"}:
            console.print(f"{study.title}: {study.state} {study.failure or ''}", style="red")
            continue
        answer = admin.show_study(study.study_instance_uid)
        names = {sop_instance_uid_of(file): file.name for file in study.files}
        console.print(answer_table(study.title, answer["findings"], names))


def answer_table(title: str, said: Iterable[Mapping[str, Any]], file_names: Mapping[str, str]) -> Table:
    """Show what was found in one study; each line names the image that it speaks of by the file that was sent.

    :param file_names: SOP Instance UID -> file name.
    """
    table = Table(title=f"\n{title}", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("task", "what", "value", "image", "note"):
        table.add_column(column, overflow="fold")
    for entry in said:
        value = " ".join(str(v) for v in (entry["value"], entry["unit"]) if v is not None)
        image = file_names.get(entry.get("instance") or "", "")
        frame = f"frame {entry['frame']}" if entry["frame"] else None
        note = ": ".join(part for part in (frame, entry["note"]) if part)
        table.add_row(entry["task"], entry["name"], value, image, note)
    return table


def _print_places(console: Console, out: Path, archive: Archive | None, peer: Peer) -> None:
    console.print("\nEvery figure above is an investigational AI result on the images named, not a diagnosis.")
    if archive is None:
        console.print(f"The results lie in {peer}.")
    else:
        from dicom_node.pipeline.offline import write_previews  # noqa: PLC0415 - codecs and fonts only at the very end

        previews = write_previews(archive.files(), out / "previews")
        console.print(f"The PACS holds {len(archive.files())} objects in {out / 'pacs'}:")
        console.print(f"  {len(previews)} overlays, as pictures in {out / 'previews'}")
    console.print(f"The node's own data lies in {out / 'var'}, its log in {out / 'node.log'}.")
