"""Where the node can die: the points that its processes pass on the walk of a study, and how one is made a death."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CrashPoint:
    """The moment before an action of a role, counted from the moment that the death was ordered.

    :ivar at_start: of the action when the role starts, not when a study passes.
    :ivar everything: all roles die at that moment, as when the machine does.
    """

    role: str
    name: str
    occurrence: int = 1
    at_start: bool = False
    everything: bool = False

    def __str__(self) -> str:
        role = f"start of {self.role}" if self.at_start else self.role
        return f"{role}: {self.name} #{self.occurrence}"


def arm(folder: Path, point: CrashPoint) -> None:
    """Order a death. It happens once: the dying process takes the order away."""
    (folder / "fired").unlink(missing_ok=True)
    order = folder / "order"
    order.write_text(
        json.dumps(
            {
                "role": point.role,
                "name": point.name,
                "occurrence": point.occurrence,
                "everything": point.everything,
                "number": len(trace(folder)),  # so that no order is taken for the one before
            }
        ),
        encoding="utf-8",
    )
    order.replace(folder / "armed")


def disarm(folder: Path) -> bool:
    """Take an order back; tells whether it was carried out."""
    (folder / "armed").unlink(missing_ok=True)
    return (folder / "fired").exists()


def trace(folder: Path) -> list[tuple[str, str]]:
    """List the points that were passed, in their order, as (role, name)."""
    file = folder / "trace"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [(role, name) for role, name in (line.split("\t") for line in lines)]


def points_of(passed: Sequence[tuple[str, str]], *, at_start: bool = False) -> list[CrashPoint]:
    """Number the points of a trace: each (role, name) as often as it was passed."""
    seen: Counter[tuple[str, str]] = Counter()
    points = []
    for role, name in passed:
        seen[role, name] += 1
        points.append(CrashPoint(role, name, seen[role, name], at_start))
    return points
