"""What a task says about pictures. ``results`` renders these records and knows no task.

Coordinates are image pixels of the stored picture: continuous, (0, 0) is the top-left corner of the top-left pixel
(PS3.3 C.18.6), never those of a crop or of a network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dicom_node.domain.concept import Concept
from dicom_node.domain.frame import FrameReference

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Graphic:
    """A drawn shape as SCOORD knows it (PS3.3 C.18.6.1.2).

    ``ellipse``: four points, both ends of the major axis, then both ends of the minor axis.
    ``polyline``: two or more points; closed when the first is repeated at the end.
    """

    kind: Literal["ellipse", "polyline"]
    points_px: Points

    def __post_init__(self) -> None:
        if self.kind == "ellipse" and len(self.points_px) != 4:  # noqa: PLR2004
            raise ValueError("an ellipse has four points")
        if self.kind == "polyline" and len(self.points_px) < 2:  # noqa: PLR2004
            raise ValueError("a polyline has at least two points")


@dataclass(frozen=True, slots=True)
class Detection:
    """A structure found in a frame, as a box with the detector's score (0..1)."""

    task: str
    frame: FrameReference
    name: str
    structure: Concept
    site: Concept
    box_xyxy_px: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True)
class Classification:
    """A class given to one or several frames. ``probabilities`` lists every class that was possible, sum 1.

    ``site`` is the part that the class is about, where it is not the whole frame, and ``detection`` the name of the
    task's box around it in the same frame; ``qualifier`` says what a reader has to know before believing it, as when it
    was learned from simulated pictures, and ``caveat`` the same in a few words, for a picture; empty where a picture
    need not say it.
    """

    task: str
    frames: tuple[FrameReference, ...]
    name: str
    concept: Concept
    value: Concept
    value_name: str
    probabilities: tuple[tuple[Concept, float], ...]
    site: Concept | None = None
    qualifier: str | None = None
    caveat: str | None = None
    detection: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured quantity and the shape that it was measured on.

    ``unit`` is a UCUM code: ``mm``, or ``{pixels}`` when the frame has no usable calibration; ``qualifier`` then says
    why.
    """

    task: str
    frame: FrameReference
    name: str
    quantity: Concept
    value: float
    unit: Literal["mm", "{pixels}"]
    graphic: Graphic
    site: Concept
    qualifier: str | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The outline of a structure as a closed polyline (first point repeated)."""

    task: str
    frame: FrameReference
    name: str
    structure: Concept
    contour: Graphic
    score: float


@dataclass(frozen=True, slots=True)
class NotAssessable:
    """A task looked and would not answer: a result, with its reason. ``name`` is the output that is missing."""

    task: str
    frame: FrameReference
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where in a frame a network looked for one class: an explanation of an answer, not an outline of anything.

    ``values`` are rows of equal length, 0 (not at all) to 1 (most), spread evenly over the whole picture. ``value`` is
    the class, ``probability`` (0..1) what the network gave it in this frame, ``method`` how the map was made.
    """

    task: str
    frame: FrameReference
    name: str
    value: Concept
    value_name: str
    probability: float
    values: tuple[tuple[float, ...], ...]
    method: str

    def __post_init__(self) -> None:
        if len({len(row) for row in self.values}) != 1 or not self.values[0]:
            raise ValueError("a heat map has rows of one length")
        if not all(0.0 <= value <= 1.0 for row in self.values for value in row):
            raise ValueError("a heat map has values from 0 to 1")

    def explains(self, answer: Finding) -> bool:
        """Tell whether it is of this answer, and of one of its frames."""
        return (
            isinstance(answer, Classification)
            and (self.task, self.value) == (answer.task, answer.value)
            and self.frame in answer.frames
        )


Finding = Detection | Classification | Measurement | Segmentation | NotAssessable | HeatMap


def frames_of(finding: Finding) -> tuple[FrameReference, ...]:
    """List the frames that a finding speaks about."""
    return finding.frames if isinstance(finding, Classification) else (finding.frame,)
