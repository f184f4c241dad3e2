"""The roles of a node as single processes, watched from inside (``instrument/``), each started again when it dies.

Without the supervisor, whose pauses between restarts grow with each death: here hundreds are meant to die.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from conftest import wait_until
from running import Node, done, environment

from dicom_node.supervisor import SUPERVISED

NAMES = {"receiver": "receiver-0", "io": "io-0", "analysis": "analysis-0"}
READY = {"receiver": "listening as", "io": "worker io-0 runs", "analysis": "worker analysis-0 runs"}
INSTRUMENT = Path(__file__).parent / "instrument"
REPOSITORY = Path(__file__).parents[2]
LOOK_EVERY_S = 0.05
START_S = 300.0


class RoleProcesses:
    """Receiver, analysis and I/O of one node, in one process group, for as long as the ``with`` block lasts.

    :ivar points: the folder that the instrument writes to and reads from.
    :ivar deaths: how often each role died.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.points = node.folder / "points"
        self.points.mkdir(exist_ok=True)
        self.deaths = dict.fromkeys(NAMES, 0)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, int] = {}
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep_running, daemon=True)

    def __enter__(self) -> Self:
        done("db", "upgrade", "--config", self.node.config)
        for role in NAMES:
            self._start(role)
        self._watch.start()
        for role in NAMES:
            wait_until(lambda role=role: self.is_ready(role), START_S, f"the start of {role}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._watch.join()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self, role: str) -> None:
        """Kill a role; the watch starts it again."""
        process = self._processes[role]
        process.kill()
        process.wait()

    def is_ready(self, role: str) -> bool:
        """Tell whether a role has come to its work since it was started last."""
        log = (self.node.folder / f"{role}.log").read_bytes()[self._begun[role] :]
        return self._processes[role].poll() is None and READY[role].encode() in log

    def _keep_running(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            for role, process in self._processes.items():
                if process.poll() is not None:
                    self.deaths[role] += 1
                    self._start(role)

    def _start(self, role: str) -> None:
        command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(self.node.config)]
        command += ["--only", role, "--name", NAMES[role]]
        env = environment(
            PYTHONPATH=os.pathsep.join(map(str, (INSTRUMENT, REPOSITORY))),
            CRASH_POINTS=str(self.points),
            CRASH_DATA_DIR=str((self.node.folder / "var").resolve()),
            **{SUPERVISED: str(os.getpid())},  # it ends when this process does, however
        )
        with (self.node.folder / f"{role}.log").open("ab") as log:
            self._begun[role] = log.tell()
            self._processes[role] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, process_group=self._group()
            )

    def _group(self) -> int:
        """Give the process group of whoever lives, or 0 for one of its own."""
        for process in self._processes.values():
            if process.poll() is None:
                return os.getpgid(process.pid)
        return 0
