"""What every analysis task is, and what it is more when it answers for a whole study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dicom_node.domain.finding import Finding
from dicom_node.domain.frame import Frame, FrameReference


class Task(Protocol):
    """A loaded model that looks at frames and says what it finds.

    ``dicom_node/tasks/<name>`` makes one with ``load(manifest, device) -> Task``; a task that can be
    configured takes its options by name, each with a default.
    """

    name: str

    def accepts(self, frame: Frame) -> bool:
        """Tell whether the task wants to see this frame, by its plane (as the gate gave it) and nothing else."""
        ...

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Look at a batch of accepted frames. A frame without findings gets :class:`NotAssessable`, never silence."""
        ...


@runtime_checkable
class StudyTask(Task, Protocol):
    """A task whose answer is about the patient: what it finds in frames is not reported, but what follows from it."""

    def conclude(self, findings: Sequence[Finding], reported: Sequence[FrameReference]) -> list[Finding]:
        """Answer for a study, once.

        :param findings: what :meth:`predict` said about every frame of the study that was accepted; perhaps nothing.
        :param reported: the frames that the report shows, at least one, for an answer that no frame was suitable.
        """
        ...
