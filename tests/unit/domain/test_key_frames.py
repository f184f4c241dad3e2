"""Which frames are reported."""

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Detection
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.key_frames import SeenFrame, choose_key_frames

NASAL_BONE = Concept("74386004", "SCT", "Nasal bone")


def seen(number: int, plane: str, probability: float, boxes: int = 0) -> SeenFrame:
    reference = FrameReference("1.2", "1.2.3", number)
    box = Detection("structures", reference, "nasal_bone", NASAL_BONE, NASAL_BONE, (0, 0, 1, 1), 0.9)
    return SeenFrame(reference, plane, probability, (box,) * boxes)


def numbers(frames: list[SeenFrame]) -> list[int | None]:
    return [frame.reference.frame_number for frame in frames]


def test_each_plane_of_a_cine_is_reported_once_by_its_best_frame() -> None:
    frames = [seen(1, "brain", 0.7), seen(2, "brain", 0.9), seen(3, "abdomen", 0.6), seen(4, "abdomen", 0.5)]
    assert numbers(choose_key_frames(frames)) == [3, 2]


def test_a_frame_with_answers_beats_a_surer_one_without() -> None:
    frames = [seen(1, "midsagittal_head", 0.99), seen(2, "midsagittal_head", 0.8, boxes=7)]
    assert numbers(choose_key_frames(frames)) == [2]


def test_a_stray_frame_is_motion_not_a_plane() -> None:
    frames = [seen(number, "brain", 0.9) for number in range(1, 20)] + [seen(20, "femur", 0.99)]
    assert numbers(choose_key_frames(frames)) == [1]


def test_an_instance_out_of_scope_is_still_mentioned() -> None:
    assert numbers(choose_key_frames([seen(1, "other", 0.6), seen(2, "other", 0.8)])) == [2]


def test_nothing_seen_reports_nothing() -> None:
    assert choose_key_frames([]) == []
