"""Frames of several instances in one batch, several batches side by side: answers stay with their instances."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
import synthetic
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.finding import Classification, Finding, NotAssessable
from dicom_node.domain.frame import Frame
from dicom_node.imaging.frames import Instance, open_instance
from dicom_node.inference.batching import side_by_side
from dicom_node.pipeline.looking import Looking


class Gate:
    """Calls every frame a brain; remembers its batches, and waits for company when it is told to."""

    name = "planes"

    def __init__(self, company: threading.Barrier | None = None) -> None:
        self.batches: list[int] = []
        self.company = company

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        self.batches.append(len(frames))
        if self.company:
            self.company.wait(timeout=20)
        classes = ((synthetic.BRAIN_TT, 0.9), (synthetic.OTHER, 0.1))
        return [
            Classification(
                "planes", (it.reference,), "plane", synthetic.IMAGE_VIEW, synthetic.BRAIN_TT, "brain", classes
            )
            for it in frames
        ]


class Choosy:
    """Fails whenever an instance is among the frames; says of the others that it cannot tell."""

    name = "biometry"

    def __init__(self, bad: str) -> None:
        self.bad = bad

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        if any(frame.reference.sop_instance_uid == self.bad for frame in frames):
            raise MemoryError("too large")
        return [NotAssessable(self.name, frame.reference, "HC", "no head") for frame in frames]


@pytest.fixture
def instances(tmp_path) -> list[Instance]:
    made = []
    for number in range(1, 6):
        options = {"frames": [synthetic.picture(frame=n) for n in range(3)]} if number == 3 else {}
        ds = synthetic.image(number=number, transfer_syntax_uid=JPEGBaseline8Bit, **options)
        made.append(open_instance(synthetic.write(ds, tmp_path / f"{number}.dcm")))
    return made


def test_stills_share_a_batch_and_each_instance_gets_its_own_frames(instances: list[Instance]) -> None:
    gate = Gate()
    seen = Looking(gate, [], batch_size=4).at(instances, 64)
    assert gate.batches == [4, 3]
    assert [len(it.frames) for it in seen] == [1, 1, 3, 1, 1]
    for instance, it in zip(instances, seen, strict=True):
        assert {frame.reference.sop_instance_uid for frame in it.frames} == {instance.sop_instance_uid}
    assert [frame.reference.frame_number for frame in seen[2].frames] == [1, 2, 3]


def test_batches_are_looked_at_at_the_same_time_and_say_the_same(instances: list[Instance]) -> None:
    together = Gate(threading.Barrier(2))  # breaks unless two looks wait for each other
    seen = Looking(together, [], batch_size=2, looks=2).at(instances, 64)
    assert sorted(together.batches) == [1, 2, 2, 2]
    assert seen == Looking(Gate(), [], batch_size=1).at(instances, 64)


def test_an_instance_that_a_task_fails_on_costs_the_others_of_its_batch_nothing(instances: list[Instance]) -> None:
    bad = instances[1].sop_instance_uid
    seen = Looking(Gate(), [Choosy(bad)], batch_size=8).at(instances, 64)
    assert [[note.reason for note in it.not_analysed] for it in seen] == [
        [],
        ["the task failed: too large"],
        [],
        [],
        [],
    ]
    assert [[len(frame.findings) for frame in it.frames] for it in seen] == [[2], [1], [2, 2, 2], [2], [2]]


def test_an_instance_that_cannot_be_decoded_is_a_fault_of_its_own(instances: list[Instance]) -> None:
    instances[1].header.SamplesPerPixel = 2
    seen = Looking(Gate(), [], batch_size=4).at(instances, 64)
    assert [len(it.faults) for it in seen] == [0, 1, 0, 0, 0]
    assert [len(it.frames) for it in seen] == [1, 0, 3, 1, 1]


def test_no_more_batches_lie_in_memory_than_are_looked_at() -> None:
    drawn, answered = [], []

    def some() -> Iterator[list[int]]:
        for number in range(9):
            drawn.append(number)
            assert len(drawn) - len(answered) <= 4  # two are looked at, one waits, one is just drawn
            yield [number]

    for batch, answer in side_by_side(lambda batch: batch[0] * 10, some(), threads=2):
        answered.append(answer)
        assert answer == batch[0] * 10
    assert answered == [number * 10 for number in range(9)]


def test_what_a_look_raises_is_raised_in_its_turn_and_the_rest_is_not_begun() -> None:
    begun = []

    def look(batch: Sequence[int]) -> int:
        begun.append(batch[0])
        if batch[0] == 1:
            raise ValueError("broken")
        return batch[0]

    answers = side_by_side(look, ([number] for number in range(50)), threads=1)
    assert next(answers) == ([0], 0)
    with pytest.raises(ValueError, match="broken"):
        next(answers)
    assert len(begun) < 5
