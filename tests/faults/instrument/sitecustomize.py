"""Put on the PYTHONPATH of the node's processes: notes what each of them makes durable or says to a peer, in order,
and lets it die by SIGKILL just before the one that it is told (``crash_points.py`` tells it).

Python imports a module of this name at its start, so the node itself knows nothing of this. A point is the moment
before an action; what an action made durable is so at the next point. Only actions that change something count: a
commit that wrote no row is none.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("CRASH_POINTS")  # holds `trace`, and `armed` while somebody is to die
DATA_DIR = os.environ.get("CRASH_DATA_DIR", "")
WRITES = re.compile(r"\s*(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+\"?(?:\w+\.)?\"?(\w+)", re.IGNORECASE)


class Points:
    """The points of this process."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder = folder
        self._role = role
        self._trace = os.open(folder / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._order = ""
        self._seen: Counter[str] = Counter()
        self._turn = threading.Lock()
        self._rename = os.rename  # the real one

    def reached(self, name: str) -> None:
        """Note an action that is about to happen, or die instead of it."""
        with self._turn:
            os.write(self._trace, f"{self._role}\t{name}\n".encode())
            try:
                order = (self._folder / "armed").read_text(encoding="utf-8")
            except FileNotFoundError:
                return
            if order != self._order:
                self._order = order
                self._seen.clear()
            self._seen[name] += 1
            who = json.loads(order)
            if (who["role"], who["name"], who["occurrence"]) == (self._role, name, self._seen[name]):
                self._rename(self._folder / "armed", self._folder / "fired")
                if who["everything"]:
                    os.killpg(0, signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)


def watch_files(points: Points) -> None:
    """Name flushes, renames and removals by the folder of the node that they happen in."""

    def watch(name: str, path_of: Callable[..., str]) -> None:
        act = getattr(os, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments)
            if path == DATA_DIR or path.startswith(f"{DATA_DIR}/"):
                points.reached(f"{name} {path[len(DATA_DIR) + 1 :].partition('/')[0] or 'data_dir'}")
            return act(*arguments, **options)

        setattr(os, name, watched)

    def opened(descriptor: int) -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())

    def last(*arguments: Any) -> str:
        return str(Path(arguments[-1]).absolute())

    watch("fsync", opened)
    watch("fdatasync", opened)
    watch("rename", last)
    watch("replace", last)
    watch("unlink", last)


def watch_commits(points: Points) -> None:
    """Name each commit by the tables that it changes, of the node's connections and of the engine's alike."""
    from sqlalchemy import event  # noqa: PLC0415 - nothing is imported in a process that is not watched
    from sqlalchemy.engine import Engine  # noqa: PLC0415

    def committed(connection: Any) -> None:
        settle(connection)
        if tables := connection.info.pop("tables", None):
            points.reached(f"commit {'+'.join(sorted(tables))}")

    def rolled_back(connection: Any) -> None:
        connection.info.pop("statement", None)
        connection.info.pop("tables", None)

    event.listen(Engine, "before_cursor_execute", executes)
    event.listen(Engine, "after_cursor_execute", executed)
    event.listen(Engine, "commit", committed)
    event.listen(Engine, "rollback", rolled_back)


def executes(connection: Any, cursor: Any, *_: object) -> None:
    settle(connection)
    connection.info["changes"] = changes(cursor.connection)


def executed(connection: Any, cursor: Any, statement: str, *_: object) -> None:
    match = WRITES.match(statement)
    if match is None:
        return
    if changes(cursor.connection) is not None:
        connection.info["statement"] = match[1], connection.info["changes"]
    elif cursor.rowcount != 0:
        connection.info.setdefault("tables", set()).add(match[1])


def settle(connection: Any) -> None:
    """Say of the last statement whether it changed something: SQLite knows that when its rows are fetched."""
    table, before = connection.info.pop("statement", (None, None))
    if table and changes(connection.connection.dbapi_connection) != before:
        connection.info.setdefault("tables", set()).add(table)


def changes(connection: Any) -> int | None:
    """Count the rows that a connection of SQLite ever changed; None of one to PostgreSQL."""
    return getattr(connection, "total_changes", None)


def watch_answers(points: Points) -> None:
    """Name what the receiver says to a scanner or a PACS."""
    from dicom_node.dimse.command_set import Element, decode  # noqa: PLC0415
    from dicom_node.dimse.connection import Connection  # noqa: PLC0415

    names = {0x8001: "C-STORE", 0x8100: "N-EVENT-REPORT", 0x8130: "N-ACTION"}
    send, release = Connection.send_message, Connection.send_release_response

    def send_message(self: Connection, context_id: int, command: bytes, *rest: Any) -> None:
        field = decode(command).number(Element.COMMAND_FIELD)
        points.reached(f"answer {names.get(field, f'{field:04X}')}")
        send(self, context_id, command, *rest)

    def send_release_response(self: Connection) -> None:
        points.reached("answer A-RELEASE")
        release(self)

    Connection.send_message = send_message
    Connection.send_release_response = send_release_response


def watch_requests(points: Points) -> None:
    """Name what the node sends to a PACS, and that the PACS has answered it."""
    from pynetdicom.association import Association  # noqa: PLC0415

    def watch(method: str, name: str) -> None:
        act = getattr(Association, method)

        def watched(self: Association, *arguments: Any, **options: Any) -> Any:
            points.reached(f"send {name}")
            answer = act(self, *arguments, **options)
            points.reached(f"{name} answered")
            return answer

        setattr(Association, method, watched)

    watch("send_c_store", "C-STORE")
    watch("send_n_action", "N-ACTION")


if FOLDER and "--only" in sys.orig_argv:
    ROLE = sys.orig_argv[sys.orig_argv.index("--only") + 1]
    POINTS = Points(Path(FOLDER), ROLE)
    watch_files(POINTS)
    watch_commits(POINTS)
    if ROLE == "receiver":
        watch_answers(POINTS)
    if ROLE == "io":
        watch_requests(POINTS)
