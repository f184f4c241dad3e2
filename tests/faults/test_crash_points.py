"""A death just before each kind of action that a study needs: flush, rename, commit, answer, request.

This is a sample, on PostgreSQL of what differs there; `make soak` dies at every point that there is, on both databases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import new_database
from crash_points import CrashPoint, trace
from crash_walk import CrashWalk, crash_walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Who does what. Of each, the point that dies is the last one; of commits, the one that changes most tables.
KINDS = [
    ("receiver", "rename instances"),
    ("receiver", "fdatasync instances"),
    ("receiver", "fsync instances"),
    ("receiver", "commit"),
    ("receiver", "answer C-STORE"),
    ("receiver", "answer N-EVENT-REPORT"),
    ("io", "commit"),
    ("io", "send C-STORE"),
    ("io", "C-STORE answered"),
    ("io", "send N-ACTION"),
    ("io", "N-ACTION answered"),
    ("analysis", "replace results"),
    ("analysis", "commit"),
]


@dataclass(frozen=True)
class Place:
    """A node, and the points that a study passes in it."""

    walk: CrashWalk
    points: list[CrashPoint]

    def point(self, role: str, kind: str) -> CrashPoint:
        """Choose the point of a kind."""
        found = [point for point in self.points if (point.role, point.at_start) == (role, False)]
        return max(
            (point for point in found if point.name.startswith(kind)),
            key=lambda it: (it.name.count("+"), it.occurrence),
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with crash_walk(tmp_path_factory.mktemp("points")) as walk:
        yield Place(walk, walk.points_of_study())


@pytest.fixture(scope="module")
def place_on_postgresql(tmp_path_factory: pytest.TempPathFactory, postgresql_server: str) -> Iterator[Place]:
    with crash_walk(tmp_path_factory.mktemp("points"), new_database(postgresql_server)) as walk:
        yield Place(walk, walk.points_of_study())


def test_before_an_image_is_acknowledged_it_is_on_the_disk_and_in_the_database(place: Place) -> None:
    begun = len(trace(place.walk.roles.points))
    place.walk.walk()
    receiver = [name for role, name in trace(place.walk.roles.points)[begun:] if role == "receiver"]
    made_durable: list[str] = []
    for name in receiver:
        if name == "answer C-STORE":
            verbs = [it.partition(" ")[0] if "instances" in it else "" for it in made_durable]
            assert verbs[-4:] == ["rename", "fdatasync", "fsync", "commit"]
            made_durable.clear()
        else:
            made_durable.append(name)
    assert receiver.count("answer C-STORE") == len(place.walk.stills)


def test_before_an_answer_is_recorded_its_objects_are_on_the_disk(place: Place) -> None:
    begun = len(trace(place.walk.roles.points))
    place.walk.walk()
    analysis = [name for role, name in trace(place.walk.roles.points)[begun:] if role == "analysis"]
    recorded = next(number for number, name in enumerate(analysis) if name.startswith("commit analyses"))
    files = [name.partition(" ")[0] for name in analysis if name.endswith(" results")]
    assert files[-3:] == ["fsync", "replace", "fsync"]  # the bytes, their name, the folder
    assert not [name for name in analysis[recorded:] if name.endswith(" results")]


@pytest.mark.parametrize(("role", "kind"), KINDS, ids=[f"{role}-{kind}" for role, kind in KINDS])
def test_a_death_at_a_point_breaks_no_promise(place: Place, role: str, kind: str) -> None:
    die(place, place.point(role, kind))


@pytest.mark.parametrize("role", ["receiver", "io", "analysis"])
def test_a_death_before_a_commit_breaks_no_promise_on_postgresql(place_on_postgresql: Place, role: str) -> None:
    die(place_on_postgresql, place_on_postgresql.point(role, "commit"))


@pytest.mark.parametrize("where", ["place", "place_on_postgresql"])
def test_the_death_of_everything_breaks_no_promise(request: pytest.FixtureRequest, where: str) -> None:
    place: Place = request.getfixturevalue(where)
    die(place, dataclasses.replace(place.point("analysis", "commit"), everything=True))


def die(place: Place, point: CrashPoint) -> None:
    assert place.walk.die_at(point), f"{point} was not reached"
    assert place.walk.balance().broken == ()
