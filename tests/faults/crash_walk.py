"""One study's walk through a node of which somebody dies on the way, and the balance at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import synthetic
from conftest import wait_until
from crash_points import CrashPoint, arm, disarm, points_of, trace
from patient_archive import PatientArchive
from promises import Balance, Books
from role_processes import NAMES, RoleProcesses
from running import Node, new_study, sop_uid_of
from ultrasound_machine import UltrasoundMachine

SETTLED_S = 400.0
QUIET_S = 1.0
SEND = ["findings_sr", "presentation_state"]  # several objects, quickly made


@dataclass
class CrashWalk:
    """A node of single roles, its scanner, its PACS and its books."""

    roles: RoleProcesses
    books: Books
    archive: PatientArchive
    scanner: UltrasoundMachine
    stills: Sequence[Path]
    acknowledged: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def walk(self) -> None:
        """Send a new study and wait until nothing is left to do."""
        number = next(self.numbers)
        uid, files = new_study(self.stills, self.roles.node.folder / f"study-{number}", f"walk {number}")
        for file in self.scanner.send(files):
            self.acknowledged[sop_uid_of(file)] = uid
        wait_until(lambda: not self.books.unfinished(), SETTLED_S, f"the end of study {number}")
        wait_until(self.is_idle, SETTLED_S, f"the end of all jobs of study {number}")

    def is_idle(self) -> bool:
        """Tell whether no job is live, and every role ready for the next study."""
        return all(map(self.roles.is_ready, NAMES)) and not self.books.stuck_jobs()

    def die_at(self, point: CrashPoint) -> bool:
        """Walk with a death on the way; tells whether the point was reached."""
        arm(self.roles.points, point)
        if point.at_start:
            self.roles.kill(point.role)
        self.walk()
        return disarm(self.roles.points)

    def balance(self) -> Balance:
        """Count what came of everything so far."""
        return self.books.balance(self.acknowledged, self.archive)

    def points_of_starts(self) -> list[CrashPoint]:
        """List the points that each role passes when it starts again."""
        found: list[CrashPoint] = []
        for role in NAMES:
            begun = len(trace(self.roles.points))
            self.roles.kill(role)
            wait_until(self.is_idle, SETTLED_S, f"the return of {role}")
            of_role = [passed for passed in trace(self.roles.points)[begun:] if passed[0] == role]
            found += points_of(of_role, at_start=True)
        return found

    def points_of_study(self) -> list[CrashPoint]:
        """List the points that are passed on the walk of a study, in their order."""
        self.walk()  # the first of a new node makes folders and files that no later one makes
        begun = len(trace(self.roles.points))
        self.walk()
        return points_of(trace(self.roles.points)[begun:])


@contextmanager
def crash_walk(folder: Path, database_url: str | None = None) -> Iterator[CrashWalk]:
    """Run a node, quick to finish: two small stills without a view, one task, a second of quiet time."""
    files = []
    for number in (1, 2):
        files.append(folder / f"{number}.dcm")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        synthetic.image(number=number).save_as(files[-1], enforce_file_format=True)
    with PatientArchive() as archive:
        to = {"name": "pacs", "ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port, "send": SEND}
        analysis = {"device": "cpu", "tasks": ["planes"]}
        node = Node(
            folder / "node", [to], quiet_seconds=QUIET_S, database_url=database_url, sections={"analysis": analysis}
        )
        archive.reports_to = ("127.0.0.1", node.port)
        with RoleProcesses(node) as roles, closing(Books(node.url, node.folder / "var")) as books:
            yield CrashWalk(roles, books, archive, UltrasoundMachine(folder, node.port), files)
