"""A scanner that never gives up: DCMTK's storescu, sending again whatever was not acknowledged."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from running import SCANNER, STORESCU, environment

PAUSE_S = 0.5  # between two attempts

LOG = """log4cplus.rootLogger = INFO, out
log4cplus.appender.out = log4cplus::ConsoleAppender
log4cplus.appender.out.layout = log4cplus::PatternLayout
log4cplus.appender.out.layout.ConversionPattern = %D{%s.%q} %m%n
"""
LINE = re.compile(
    r"^(?P<at>\d+\.\d+) (?:Sending file: (?P<file>.+)|(?P<sends>Sending Store Request)"
    r"|Received Store Response \((?P<answer>.+)\))",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Answered:
    """One C-STORE that was answered, and how long the scanner waited: from its request to the response."""

    file: Path
    success: bool
    at: float
    seconds: float


class UltrasoundMachine:
    """One scanner. ``answers`` grows while it sends; ``attempts`` counts its associations."""

    def __init__(self, folder: Path, port: int, ae_title: str = SCANNER) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "storescu.cfg"
        self._log.write_text(LOG, encoding="utf-8")
        self._port = port
        self._ae_title = ae_title
        self.answers: list[Answered] = []
        self.attempts = 0

    def send(self, files: Sequence[Path], stop: threading.Event | None = None, timeout_s: float = 300) -> list[Path]:
        """Send files until each is acknowledged with 0x0000; gives those that are, all of them unless stopped."""
        acknowledged: list[Path] = []
        deadline = time.monotonic() + timeout_s
        while missing := [file for file in files if file not in acknowledged]:
            answers = self._attempt(missing)
            acknowledged += [answer.file for answer in answers if answer.success]
            if len(acknowledged) < len(files):
                if stop is not None and stop.is_set():
                    break
                assert time.monotonic() < deadline, f"{len(missing)} instances were not taken in {timeout_s:g} s"
                time.sleep(PAUSE_S)
        return acknowledged

    def _attempt(self, files: Sequence[Path]) -> list[Answered]:
        self.attempts += 1
        # -xy: cines as they are, in JPEG Baseline; what is uncompressed goes uncompressed.
        command = [
            STORESCU,
            "-lc",
            str(self._log),
            "-R",
            "-xy",
            "-pdu",
            "131072",
            "-to",
            "10",
            "-ta",
            "60",
            "-td",
            "120",
        ]
        command += ["-aet", self._ae_title, "-aec", "DICOM_NODE", "127.0.0.1", str(self._port), *map(str, files)]
        outcome = subprocess.run(
            command, env=environment(TCP_NODELAY="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        answers = _answers(outcome.stdout.decode(errors="replace"))
        self.answers += answers
        return answers


def _answers(said: str) -> list[Answered]:
    answers: list[Answered] = []
    file, sent_at = Path(), 0.0
    for line in LINE.finditer(said):
        at = float(line["at"])
        if line["file"]:
            file = Path(line["file"])
        elif line["sends"]:
            sent_at = at
        else:
            answers.append(Answered(file, line["answer"] == "Success", at, at - sent_at))
    return answers
