"""`dicom-node serve`: one supervisor, a process for each role, restarted when it dies, drained on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.config import Config

logger = logging.getLogger(__name__)

ROLES = ("receiver", "analysis", "io", "web")
DRAIN_S = 60.0  #: how long the roles may take to finish their associations and steps
RESTART_FIRST_S, RESTART_MOST_S = 0.5, 30.0
STEADY_S = 30.0  #: a process that lived so long is restarted without delay again


@dataclass(slots=True)
class Child:
    """One process of a role, and when it may be started again."""

    role: str
    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    pause_s: float = field(default=RESTART_FIRST_S)


def processes_of(config: Config) -> list[tuple[str, str]]:
    """List the processes that one machine runs, as (role, name). Names are stable: they are executor ids."""
    receivers = [("receiver", f"receiver-{number}") for number in range(config.dicom.receivers)]
    return [*receivers, ("analysis", "analysis-0"), ("io", "io-0"), ("web", "web-0")]


def supervise(config: Config, config_path: Path, stop: threading.Event) -> int:
    """Run every role until ``stop``; give the exit code: 0 when all drained, 1 when one had to be killed."""
    children = [
        Child(
            role,
            name,
            [sys.executable, "-m", "dicom_node", "serve", "--config", str(config_path), "--only", role, "--name", name],
        )
        for role, name in processes_of(config)
    ]
    while not stop.is_set():
        for child in children:
            _keep_running(child, time.monotonic())
        stop.wait(0.2)
    return _drain([child for child in children if child.process is not None])


def _keep_running(child: Child, now: float) -> None:
    if child.process is None:
        if now >= child.restart_at:
            child.process = subprocess.Popen(child.command, env=_environment())
            child.started_at = now
            logger.info("%s started, pid %d", child.name, child.process.pid, extra={"action": "role_started"})
        return
    code = child.process.poll()
    if code is None:
        return
    child.pause_s = RESTART_FIRST_S if now - child.started_at > STEADY_S else min(child.pause_s * 2, RESTART_MOST_S)
    child.restart_at = now + child.pause_s
    child.process = None
    logger.error(
        "%s ended with code %d; it is started again in %.1f s",
        child.name,
        code,
        child.pause_s,
        extra={"action": "role_died"},
    )


def _drain(children: Sequence[Child]) -> int:
    """Ask every role to finish, and wait for it."""
    for child in children:
        if child.process is not None:
            child.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + DRAIN_S
    killed = 0
    for child in children:
        if child.process is None:
            continue
        try:
            child.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.error("%s did not finish in %.0f s and is killed", child.name, DRAIN_S)  # noqa: TRY400
            child.process.kill()
            child.process.wait()
            killed += 1
    logger.info("drained", extra={"action": "drained"})
    return 1 if killed else 0


def _environment() -> dict[str, str]:
    return {**os.environ, SUPERVISED: str(os.getpid())}


SUPERVISED = "DICOM_NODE_SUPERVISOR_PID"


def stop_with_supervisor() -> None:
    """End this role when its supervisor is gone, however that died; called once, at its start.

    A receiver that outlived its supervisor would share the port with its own successor, and a worker would hold the
    executor lock that its successor waits for. Linux sends the signal (prctl PR_SET_PDEATHSIG).
    """
    parent = os.environ.get(SUPERVISED)
    if parent is None or not sys.platform.startswith("linux"):
        return
    import ctypes  # noqa: PLC0415 - needed by supervised roles only

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)  # it died before we asked
