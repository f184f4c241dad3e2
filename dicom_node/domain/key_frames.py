"""Which frames of an instance are reported. A cine of 64 frames must not become 64 answers to one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.domain.finding import Detection, Finding, Measurement
from dicom_node.domain.frame import FrameReference

#: A plane counts as seen in a cine when at least this share of the analysed frames shows it: a single stray frame
#: between two planes is motion, not a plane.
SEEN_SHARE = 0.1
OUT_OF_SCOPE = "other"


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """One analysed frame: its plane, how sure the gate was (0..1), and what the tasks said."""

    reference: FrameReference
    plane: str
    plane_probability: float
    findings: tuple[Finding, ...]


def choose_key_frames(seen: Sequence[SeenFrame]) -> list[SeenFrame]:
    """Choose the frames to report of one instance: for each plane it shows, the frame that shows it best.

    Best is the frame with the most detections and measurements, then the gate's highest probability, then the first.
    An instance that shows no plane of interest is reported by its surest frame, so that no instance goes unmentioned.
    """
    planes = sorted({frame.plane for frame in seen})
    enough = max(1.0, SEEN_SHARE * len(seen))
    shown = [plane for plane in planes if plane != OUT_OF_SCOPE and sum(f.plane == plane for f in seen) >= enough]
    chosen = [max((f for f in seen if f.plane == plane), key=_worth) for plane in shown]
    return chosen or ([max(seen, key=_worth)] if seen else [])


def _worth(frame: SeenFrame) -> tuple[int, float, int]:
    answers = sum(isinstance(finding, Detection | Measurement) for finding in frame.findings)
    return answers, frame.plane_probability, -(frame.reference.frame_number or 0)
