"""Deaths and load beyond what every run of the tests can bear; `make soak` runs all of it.

    python tests/faults/soak.py points                      # kill -9 at every point of the walk, one walk for each
    python tests/faults/soak.py points --everything         # ... all roles at once
    python tests/faults/soak.py load --kills 100            # kill -9 at random, under load
    python tests/faults/soak.py load --minutes 20           # load alone: memory, descriptors, response times

Each takes `--database sqlite|postgresql` and `--keep FOLDER`, where the node, its logs and its files stay for a look.
The exit code is 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "integration"), str(TESTS / "acceptance")]

from conftest import new_database, run_postgresql, wait_until  # noqa: E402
from crash_points import CrashPoint  # noqa: E402
from crash_walk import crash_walk  # noqa: E402
from load import Load, Traffic, percentile  # noqa: E402
from patient_archive import PatientArchive  # noqa: E402
from process_samples import Sample, Sampler  # noqa: E402
from promises import Balance, Books  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from running import SCANNER, Node, processes_below  # noqa: E402

ROLES = ("receiver-0", "receiver-1", "analysis-0", "io-0", "web-0")
VICTIMS = (*ROLES, "supervisor", "everything")
TRIES = 3  # for a point: who moves a job that became due is a matter of chance between two roles
TELL_EVERY_S = 15.0
DRAIN_S = 3600.0

console = Console(width=140)


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    points = commands.add_parser("points", help="kill -9 at every point of the walk")
    points.add_argument("--everything", action="store_true", help="all roles die, not only the one at the point")
    points.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th point")
    points.set_defaults(run=die_at_points)
    load = commands.add_parser("load", help="many scanners, and kill -9 at random")
    load.add_argument("--minutes", type=float, default=20)
    load.add_argument("--scanners", type=int, default=50)
    load.add_argument("--stills", type=int, default=6, help="in each study")
    load.add_argument("--cines", type=int, default=1, help="in each study")
    load.add_argument("--frames", type=int, default=20, help="of each cine")
    load.add_argument("--every", type=float, default=240, metavar="SECONDS", help="from study to study of a scanner")
    load.add_argument("--kills", type=int, default=0)
    load.add_argument("--tasks", default="planes", help="of the analysis, by commas")
    load.add_argument("--seed", type=int, default=0)
    load.set_defaults(run=bear_load)
    for command in (points, load):
        command.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
        command.add_argument("--keep", type=Path, help="a new folder, which stays")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the node is stopped too
    with workplace(arguments.keep) as folder, database(arguments.database) as url:
        return int(arguments.run(arguments, folder, url))


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Give the folder of everything: one that stays, or one that goes."""
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="dicom-node-soak-") as folder:
        yield Path(folder)


@contextmanager
def database(kind: str) -> Iterator[str | None]:
    """Give the URL of an empty database, or None for the embedded one."""
    if kind == "sqlite":
        yield None
        return
    with run_postgresql() as server:
        yield new_database(server)


# Every point


@dataclass(frozen=True)
class Death:
    """One point, and what came of dying there."""

    point: CrashPoint
    reached: bool
    broken: frozenset[str]

    @property
    def kind(self) -> tuple[str, str]:
        """Who dies before what."""
        return str(self.point).partition(":")[0], self.point.name


def die_at_points(arguments: argparse.Namespace, folder: Path, url: str | None) -> int:
    """Walk once for each point, and die there."""
    deaths: list[Death] = []
    broken: set[str] = set()
    with crash_walk(folder, url) as walk:
        points = [*walk.points_of_starts(), *walk.points_of_study()][:: arguments.every]
        console.print(f"{len(points)} points on {arguments.database}")
        for number, point in enumerate(points, start=1):
            begun = time.monotonic()
            died = dataclasses.replace(point, everything=arguments.everything)
            reached = any(walk.die_at(died) for _ in range(TRIES))
            balance = walk.balance()
            deaths.append(Death(point, reached, frozenset(balance.broken) - broken))
            broken.update(balance.broken)
            said = "died" if reached else "not reached"
            console.print(f"{number:3d}/{len(points)} {point}: {said}, {time.monotonic() - begun:.1f} s")
            for line in deaths[-1].broken:
                console.print(f"[red]    {line}")
        missed = [str(it.point) for it in deaths if not it.reached]
        tell_points(deaths, f"{arguments.database}{', all roles at once' if arguments.everything else ''}")
        console.print(
            f"{len(deaths) - len(missed)} deaths; not reached in {TRIES} tries: {', '.join(missed) or 'none'}"
        )
        tell_balance(balance, sent=len(walk.acknowledged))
    return 1 if broken else 0


def tell_points(deaths: Sequence[Death], what: str) -> None:
    """Print how often somebody died before each kind of action, and what that broke."""
    table = Table(title=f"kill -9 at every point, {what}")
    for column in ("role", "before", "deaths", "broken promises"):
        table.add_column(column)
    for kind in dict.fromkeys(death.kind for death in deaths):
        of_kind = [death for death in deaths if death.kind == kind]
        broken = sum(len(death.broken) for death in of_kind)
        table.add_row(*kind, str(sum(death.reached for death in of_kind)), str(broken))
    console.print(table)


def tell_balance(balance: Balance, sent: int) -> None:
    """Print what came of everything."""
    table = Table(title="what was promised")
    for column in ("", "count"):
        table.add_column(column)
    table.add_row("instances sent", str(sent))
    table.add_row("acknowledged with 0x0000", str(balance.acknowledged))
    table.add_row("studies", str(balance.studies))
    table.add_row("answers", str(balance.answers))
    table.add_row("objects in the PACS, each once by UID", str(balance.objects))
    table.add_row("of them sent more than once, with the same bytes", str(balance.sent_again))
    table.add_row("files without a row, for retention to remove", str(balance.strays))
    table.add_row("broken promises", str(len(balance.broken)))
    console.print(table)
    for broken in balance.broken:
        console.print(f"[red]{broken}")


# Load


class Killer(threading.Thread):
    """Kills at random times, each time another of those that live."""

    def __init__(self, node: Node, kills: int, within_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._node = node
        self._left = kills
        self._mean_s = within_s / max(kills, 1)
        self._chance = random.Random(seed)
        self._over = threading.Event()
        self.killed: Counter[str] = Counter()
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._kill_at_random()
        except Exception as error:  # noqa: BLE001 - a node that does not come back is raised where it is waited for
            self._error = error

    def _kill_at_random(self) -> None:
        while self._left and not self._over.wait(self._chance.expovariate(1 / self._mean_s)):
            victim = self._chance.choice(VICTIMS)
            if self._kill(victim):
                self.killed[victim] += 1
                self._left -= 1

    def finish(self) -> None:
        """Kill nobody else.

        :raises AssertionError: the node did not come back after a death.
        """
        self._over.set()
        self.join()
        if self._error is not None:
            raise self._error

    def _kill(self, victim: str) -> bool:
        if victim == "everything":
            self._node.kill_everything()
            self._node.start()
        elif victim == "supervisor":
            assert self._node.process is not None
            self._node.process.kill()
            self._node.process.wait()
            self._node.start()
        else:
            try:
                self._node.kill(victim)
            except (AssertionError, ProcessLookupError):  # it is dead already, and waits for its restart
                return False
        return True


def bear_load(arguments: argparse.Namespace, folder: Path, url: str | None) -> int:
    """Let scanners send for a while, and look what came of it when the node has nothing left to do."""
    traffic = Traffic(arguments.scanners, arguments.stills, arguments.cines, arguments.frames, arguments.every)
    with PatientArchive() as archive:
        to = {"name": "pacs", "ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port}
        analysis = {"device": "cpu", "tasks": arguments.tasks.split(","), "max_frames_per_cine": 4}
        scanner = {"ae_title": SCANNER, "quiet_seconds": 5, "cap_seconds": 900}
        sections = {"analysis": analysis, "scanners": [scanner]}
        with Node(folder / "node", [to], receivers=2, database_url=url, sections=sections) as node:
            archive.reports_to = ("127.0.0.1", node.port)
            books = Books(node.url, node.folder / "var")
            load = Load(traffic, folder, node.port, arguments.seed)
            sampler = Sampler(lambda: processes_below(node.supervisor_pid), ROLES)
            killer = Killer(node, arguments.kills, arguments.minutes * 60, arguments.seed)
            begun = time.monotonic()
            for thread in (load, sampler, killer):
                thread.start()
            while time.monotonic() < begun + arguments.minutes * 60:
                time.sleep(min(TELL_EVERY_S, max(0, begun + arguments.minutes * 60 - time.monotonic())))
                tell_progress(begun, load, killer, books)
            killer.finish()
            load.finish()
            sent_within_s = time.monotonic() - begun
            drained_s = drain(begun, load, killer, books)
            sampler.finish()
            balance = books.balance(load.acknowledged, archive)
            books.close()
            restarts = node.log().count("it is started again in")
    console.rule(f"load of {traffic.scanners} scanners for {sent_within_s / 60:.1f} min on {arguments.database}")
    tell_responses(load, sent_within_s)
    tell_deaths(killer, restarts)
    tell_resources(sampler.samples)
    console.print(f"the queue was empty {drained_s / 60:.1f} min after the last image")
    tell_balance(balance, load.sent)
    return 1 if balance.broken or load.sent != len(load.acknowledged) else 0


def tell_progress(begun: float, load: Load, killer: Killer, books: Books) -> None:
    """Print one line about now."""
    waits = [answer.seconds for answer in load.answers]
    console.print(
        f"{(time.monotonic() - begun) / 60:5.1f} min: {load.sent} sent, {len(load.acknowledged)} acknowledged, "
        f"p95 {percentile(waits, 0.95):.3f} s, {books.unfinished()} to do, {killer.killed.total()} kills"
    )


def drain(begun: float, load: Load, killer: Killer, books: Books) -> float:
    """Wait until nothing is left to do; gives how long that took."""
    sent_all = told = time.monotonic()

    def is_empty() -> bool:
        nonlocal told
        if time.monotonic() > told + TELL_EVERY_S:
            told = time.monotonic()
            tell_progress(begun, load, killer, books)
        time.sleep(0.5)
        return not books.unfinished()

    wait_until(is_empty, DRAIN_S, "an empty queue")
    took_s = time.monotonic() - sent_all
    wait_until(lambda: not books.stuck_jobs(), 120, "the end of all jobs")
    return took_s


def tell_responses(load: Load, seconds: float) -> None:
    """Print how long scanners waited for their C-STORE responses."""
    answers = load.answers
    waits = [answer.seconds for answer in answers]
    table = Table(title="C-STORE, from request to response")
    for column in ("requests answered", "refused", "associations", "per s", "p50", "p95", "max"):
        table.add_column(column, justify="right")
    times = [f"{percentile(waits, share) * 1000:.0f} ms" for share in (0.5, 0.95, 1)]
    refused = sum(not answer.success for answer in answers)
    table.add_row(str(len(answers)), str(refused), str(load.associations), f"{len(answers) / seconds:.1f}", *times)
    console.print(table)


def tell_deaths(killer: Killer, restarts: int) -> None:
    """Print who was killed how often."""
    table = Table(title="kill -9")
    for column in (*VICTIMS, "all", "restarts by the supervisor"):
        table.add_column(column, justify="right")
    table.add_row(*(str(killer.killed[victim]) for victim in VICTIMS), str(killer.killed.total()), str(restarts))
    console.print(table)


def tell_resources(samples: list[Sample]) -> None:
    """Print memory and open descriptors of each role at the start, in the middle and at the end."""
    table = Table(title="RSS (MB) and file descriptors: median of the first, middle and last tenth of the time")
    for column in ("role", "RSS", "", "", "descriptors", "", ""):
        table.add_column(column, justify="right")
    for role in ROLES:
        of_role = [sample for sample in samples if sample.role == role]
        if of_role:
            tenth = max(1, len(of_role) // 10)
            middle = (len(of_role) - tenth) // 2
            parts = [of_role[:tenth], of_role[middle : middle + tenth], of_role[-tenth:]]
            memory = [f"{percentile([it.rss_mb for it in part], 0.5):.0f}" for part in parts]
            descriptors = [f"{percentile([it.descriptors for it in part], 0.5):.0f}" for part in parts]
            table.add_row(role, *memory, *descriptors)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
