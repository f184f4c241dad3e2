"""What several looks say becomes one box per structure, and none where anatomy forbids it."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.tasks.structures.anatomy import ANCHORS, FURTHEST, PLACES, Place, head_frame
from dicom_node.tasks.structures.fusion import Look, best_boxes, fused, overlaps
from dicom_node.tasks.structures.net import STRUCTURES

SHAPE = (480, 640)
CENTRE, SIZE = np.array([300.0, 240.0]), 150.0


def box_at(name: str, side: float = 1.0, away: float = 0.0) -> list[float]:
    """A box of 40 x 20 at a structure's place in a head, or ``away`` head sizes below it."""
    place = PLACES[name]
    x, y = CENTRE + SIZE * np.array([side * place.x, place.y + away])
    return [x - 20, y - 10, x + 20, y + 10]


def head(side: float = 1.0, score: float = 0.9) -> Look:
    return Look(np.array([[box_at(name, side)] for name in STRUCTURES]), np.full((len(STRUCTURES), 1), score))


def with_box(look: Look, name: str, box: list[float], score: float) -> Look:
    """The look with one more proposal for a structure; the others get one that no look believes in."""
    row = STRUCTURES.index(name)
    boxes, scores = np.zeros((len(STRUCTURES), 1, 4)), np.zeros((len(STRUCTURES), 1))
    boxes[row, 0], scores[row, 0] = box, score
    return Look(np.concatenate([look.boxes, boxes], axis=1), np.concatenate([look.scores, scores], axis=1))


def test_boxes_that_mean_the_same_are_averaged_by_their_scores() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]], dtype=float)
    box, score = fused(boxes, np.array([0.6, 0.3, 0.5]), np.array([0, 1, 1]), 2)
    assert box == pytest.approx([2 / 3, 0, 32 / 3, 10])  # (0.6 * 0 + 0.3 * 2) / 0.9, and 10 more
    assert score == pytest.approx(0.45)  # (0.6 + 0.3) / 2: the second look's better box is somewhere else


def test_what_only_one_of_two_looks_saw_has_half_its_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=float)
    box, score = fused(boxes, np.array([0.8, 0.4]), np.array([0, 1]), 2)
    assert box == pytest.approx([0, 0, 10, 10])
    assert score == pytest.approx(0.4)


def test_a_faint_neighbour_has_no_say() -> None:
    boxes = np.array([[0, 0, 10, 10], [2, 0, 12, 10]], dtype=float)
    box, _ = fused(boxes, np.array([0.9, 0.04]), np.array([0, 0]), 1)
    assert box == pytest.approx([0, 0, 10, 10])


def test_overlaps() -> None:
    found = overlaps(np.array([0.0, 0, 10, 10]), np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]]))
    assert found == pytest.approx([1, 1 / 3, 0])


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_head_keeps_one_box_of_each_structure_whichever_way_it_faces(side: float) -> None:
    found = best_boxes([head(side), head(side)], SHAPE, 0.25)
    assert list(found) == list(STRUCTURES)
    for name, (box, score) in found.items():
        assert box == pytest.approx(box_at(name, side))
        assert score == pytest.approx(0.9)


def test_a_better_box_where_that_structure_cannot_be_is_left_for_the_plausible_one() -> None:
    tempted = with_box(head(score=0.5), "nasal_bone", box_at("nasal_bone", away=0.8), 0.99)
    assert best_boxes([tempted], SHAPE, 0.25)["nasal_bone"][0] == pytest.approx(box_at("nasal_bone"))


def test_where_no_place_is_plausible_there_is_no_box() -> None:
    look = head()
    look.boxes[STRUCTURES.index("palate")] = box_at("palate")
    look.boxes[STRUCTURES.index("nasal_tip")] = box_at("nasal_tip", away=1.2)
    assert "nasal_tip" not in best_boxes([look], SHAPE, 0.25)


def test_without_its_anchors_a_head_has_no_frame_and_nothing_is_forbidden() -> None:
    look = head()
    far = box_at("nasal_tip", away=0.8)
    look.boxes[STRUCTURES.index("nasal_tip")] = far
    look.scores[STRUCTURES.index(ANCHORS[0])] = 0.1
    assert best_boxes([look], SHAPE, 0.25)["nasal_tip"][0] == pytest.approx(far)


def test_a_head_upside_down_is_no_head_of_the_train_split_and_nothing_is_forbidden() -> None:
    look = head()
    look.boxes[:, :, [1, 3]] = SHAPE[0] - look.boxes[:, :, [3, 1]]
    assert len(best_boxes([look], SHAPE, 0.25)) == len(STRUCTURES)


def test_boxes_end_at_the_edge_of_the_picture() -> None:
    boxes = np.zeros((len(STRUCTURES), 1, 4))
    boxes[0, 0] = [-20, -10, 30, 40]
    scores = np.zeros((len(STRUCTURES), 1))
    scores[0] = 0.7
    found = best_boxes([Look(boxes, scores)], SHAPE, 0.25)
    assert list(found) == [STRUCTURES[0]]
    assert found[STRUCTURES[0]][0] == pytest.approx((0.0, 0.0, 30.0, 40.0))


def test_distance_is_in_standard_deviations() -> None:
    place = Place(1.0, 2.0, 4.0, 0.0, 0.25)
    assert place.distance(np.array([[3.0, 2.0], [1.0, 3.0]])) == pytest.approx([1.0, 4.0])


def test_the_places_are_those_of_a_head_frame() -> None:
    anchors = np.array([box_at(name) for name in ANCHORS])
    found = head_frame(anchors).of(anchors)
    for name, centre in zip(ANCHORS, found, strict=True):
        assert PLACES[name].distance(centre[None])[0] < FURTHEST / 10
