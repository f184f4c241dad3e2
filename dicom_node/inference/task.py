"""What every analysis task is: the project's one Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dicom_node.domain.finding import Finding
from dicom_node.domain.frame import Frame


class Task(Protocol):
    """A loaded model that looks at frames and says what it finds.

    ``dicom_node/tasks/<name>`` makes one with ``load(manifest, device) -> Task``.
    """

    name: str

    def accepts(self, frame: Frame) -> bool:
        """Tell whether the task wants to see this frame, by its plane (as the gate gave it) and nothing else."""
        ...

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        """Look at a batch of accepted frames. A frame without findings gets :class:`NotAssessable`, never silence."""
        ...
