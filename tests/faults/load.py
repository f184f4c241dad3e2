"""Many scanners at once: stills and cines, sent again until they are acknowledged, while roles of the node may die."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import synthetic
from pydicom.uid import JPEGBaseline8Bit
from running import new_study, sop_uid_of
from ultrasound_machine import Answered, UltrasoundMachine

ROWS, COLUMNS = 480, 640


@dataclass(frozen=True)
class Traffic:
    """What each scanner sends: a study of so many stills and cines every so many seconds, as its examination ends."""

    scanners: int
    stills: int
    cines: int
    frames: int
    every_s: float

    def template(self, folder: Path) -> list[Path]:
        """Make the study that all others are copies of. Its pictures show no view: each costs the gate and no more."""
        folder.mkdir(parents=True)
        files = []
        for number in range(1, self.stills + self.cines + 1):
            if number <= self.stills:
                ds = synthetic.image([synthetic.picture(ROWS, COLUMNS, number)], number=number)
            else:
                frames = [synthetic.picture(ROWS, COLUMNS, frame) for frame in range(self.frames)]
                ds = synthetic.image(frames, JPEGBaseline8Bit, number=number)
            files.append(folder / f"{number:03d}.dcm")
            ds.save_as(files[-1], enforce_file_format=True)
        return files


@dataclass
class Load:
    """The scanners under way. What they were told of their instances grows while they run."""

    traffic: Traffic
    folder: Path
    port: int
    seed: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin with every scanner somewhere between two studies."""
        template = self.traffic.template(self.folder / "template")
        numbers = range(self.traffic.scanners)
        self.machines = [UltrasoundMachine(self.folder / f"scanner-{number}", self.port) for number in numbers]
        self._threads = [
            threading.Thread(target=self._examine, args=(number, template), daemon=True) for number in numbers
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Begin no more examinations, and return when the last is sent."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _examine(self, number: int, template: Sequence[Path]) -> None:
        chance = random.Random(f"{self.seed}-{number}")
        pause_s = chance.uniform(0, self.traffic.every_s)
        studies = 0
        while not self._stop.wait(pause_s):
            folder = self.folder / f"scanner-{number}" / str(studies)
            uid, files = new_study(template, folder, f"{self.seed} {number} {studies}")
            names = {file: sop_uid_of(file) for file in files}
            with self._turn:
                self.sent += len(files)
            for file in self.machines[number].send(files, timeout_s=1800):
                with self._turn:
                    self.acknowledged[names[file]] = uid
            shutil.rmtree(folder)
            studies += 1
            pause_s = self.traffic.every_s * chance.uniform(0.5, 1.5)

    @property
    def answers(self) -> list[Answered]:
        """Every C-STORE response so far."""
        return [answer for machine in self.machines for answer in list(machine.answers)]

    @property
    def associations(self) -> int:
        """How often the scanners called."""
        return sum(machine.attempts for machine in self.machines)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
