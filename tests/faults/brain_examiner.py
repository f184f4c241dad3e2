"""An examiner without a network: the faults are about what it is given, not about what it sees."""

from __future__ import annotations

import synthetic as s

from dicom_node.domain.finding import Classification, Finding
from dicom_node.domain.frame import Frame
from dicom_node.pipeline.examination import Examiner


class Gate:
    """Calls every frame a brain."""

    name = "planes"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: list[Frame]) -> list[Finding]:
        classes = ((s.BRAIN_TT, 0.9), (s.OTHER, 0.1))
        return [
            Classification(self.name, (frame.reference,), "plane", s.IMAGE_VIEW, s.BRAIN_TT, "brain", classes)
            for frame in frames
        ]


EXAMINER = Examiner({"planes": Gate()}, s.ALGORITHMS, {}, 4)
