"""From images to a patient, and heat maps back over their pictures: with random weights, since no answer is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, Finding, HeatMap, NotAssessable
from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.inference.attention import GRID, Attention
from dicom_node.inference.manifest import Input, Manifest, Network, Output, Value
from dicom_node.inference.task import StudyTask
from dicom_node.tasks.anomalies import FLOOR, POOLING, Anomalies
from dicom_node.tasks.anomalies.net import ANOMALIES, PLACE, AnomaliesNet
from dicom_node.tasks.anomalies.pooling import POOLINGS, mean, noisy_or, top_mean

CODES = {name: Concept(name.upper()[:16], "99FETALAI", name) for name in ANOMALIES}
OUTPUT = Output(
    name="anomaly",
    kind="classification",
    concept=Concept("CNS_ANOMALY", "99FETALAI", "appearance"),
    values=tuple(Value(name=name, concept=code) for name, code in CODES.items()),
)
SIZE = (96, 64)


def saying(likeliest: str | None = None) -> Anomalies:
    """Make the task of a network that has learned nothing, or that says the same of every frame."""
    torch.manual_seed(1)
    net = AnomaliesNet().eval().requires_grad_(requires_grad=False)
    if likeliest:
        last = list(net.head)[-1]
        last.get_parameter("bias")[list(CODES).index(likeliest)] += 50.0
    seen = Network(sha256="0" * 64, input=Input(width=SIZE[0], height=SIZE[1], channels=1))
    manifest = Manifest.model_construct(folder=Path(), outputs=(OUTPUT,), networks={"resnet34": seen})
    return Anomalies(manifest, net, Attention(net.layers[3], *net.head, method="HiResCAM", stride=PLACE), "cpu")


@pytest.fixture(scope="module")
def task() -> Anomalies:
    return saying()


def frame(number: int, plane: str = "brain") -> Frame:
    pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    return Frame(FrameReference("1.2", f"1.{number}"), pixels, Calibration(reason="none"), plane, 1.0)


def image(number: int, *shares: float) -> list[Finding]:
    """What the task says of one frame: its class and a heat map of its likeliest anomaly."""
    best, anomaly = int(np.argmax(shares)), 1 + int(np.argmax(shares[1:]))
    reference = frame(number).reference
    values = OUTPUT.values
    probabilities = tuple((value.concept, share) for value, share in zip(values, shares, strict=True))
    return [
        Classification(
            "anomalies", (reference,), "anomaly", OUTPUT.concept, values[best].concept, values[best].name, probabilities
        ),
        HeatMap(
            "anomalies",
            reference,
            "anomaly",
            values[anomaly].concept,
            values[anomaly].name,
            shares[anomaly],
            ((0.0, 1.0),),
            "Grad-CAM",
        ),
    ]


def test_each_way_of_pooling_by_hand() -> None:
    images = np.array([[0.9, 0.1, 0.0], [0.2, 0.0, 0.8], [0.6, 0.0, 0.4]])
    assert mean(images) == pytest.approx([1.7 / 3, 0.1 / 3, 0.4])
    # The two highest of each anomaly: 0.05 and 0.6; of normal the two lowest: 0.4.
    assert top_mean(images) == pytest.approx(np.array([0.4, 0.05, 0.6]) / 1.05)
    # Anomalies: 1 - 0.9 and 1 - 0.2 x 0.6; normal: 0.9 x 0.2 x 0.6.
    assert noisy_or(images) == pytest.approx(np.array([0.108, 0.1, 0.88]) / 1.088)


@pytest.mark.parametrize("name", POOLINGS)
def test_one_image_is_its_own_patient(name: str) -> None:
    alone = np.array([[0.1, 0.2, 0.4, 0.2, 0.1]])
    assert POOLINGS[name](alone) == pytest.approx(alone[0])


@pytest.mark.parametrize("name", POOLINGS)
def test_the_order_of_images_does_not_matter(name: str) -> None:
    images = np.random.default_rng(0).dirichlet(np.ones(5), size=6)
    assert POOLINGS[name](images) == pytest.approx(POOLINGS[name](images[::-1]))
    assert POOLINGS[name](images).sum() == pytest.approx(1.0)


def test_heads_are_accepted_and_nothing_else(task: Anomalies) -> None:
    planes = ("brain", "midsagittal_head", "abdomen", "femur", "thorax", "cervix", "other")
    assert [task.accepts(frame(1, plane)) for plane in planes] == [True, True, *[False] * 5]
    assert isinstance(task, StudyTask)


def test_a_frame_gets_its_class_and_the_map_of_its_anomaly() -> None:
    task = saying("encephalocele")
    found = task.predict([frame(1), frame(2)])
    assert [type(one) for one in found] == [Classification] * 2 + [HeatMap] * 2
    for said, heat in zip(found[:2], found[2:], strict=True):
        assert isinstance(said, Classification)
        assert isinstance(heat, HeatMap)
        shares = dict(said.probabilities)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert (said.value_name, heat.value_name) == ("encephalocele", "encephalocele")
        assert (said.frames, heat.probability) == ((heat.frame,), shares[CODES["encephalocele"]])
        assert np.array(heat.values).shape == GRID
    assert task.predict([]) == []


def test_a_normal_frame_has_no_map() -> None:
    assert [type(one) for one in saying("normal").predict([frame(1), frame(2)])] == [Classification] * 2


def test_a_study_has_one_answer_over_all_its_frames(task: Anomalies) -> None:
    found = [
        *image(1, 0.02, 0.0, 0.96, 0.01, 0.01),
        *image(2, 0.05, 0.0, 0.93, 0.02, 0.0),
        *image(3, 0.5, 0.4, 0, 0.1, 0),
        *image(4, 0.9, 0.0, 0.1, 0, 0),
    ]
    answer, *maps = task.conclude(found, [frame(2).reference])
    assert isinstance(answer, Classification)
    assert answer.value_name == "encephalocele"
    assert [reference.sop_instance_uid for reference in answer.frames] == ["1.1", "1.2", "1.3", "1.4"]
    assert sum(share for _, share in answer.probabilities) == pytest.approx(1.0)
    # The third frame's map is of another anomaly, and explains nothing here; the fourth frame looks normal.
    assert [(one.frame.sop_instance_uid, one.value_name) for one in maps if isinstance(one, HeatMap)] == [
        ("1.1", "encephalocele"),
        ("1.2", "encephalocele"),
    ]


def test_normal_comes_without_heat_maps(task: Anomalies) -> None:
    (answer,) = task.conclude([*image(1, 0.97, 0.01, 0.01, 0.01, 0.0), *image(2, 0.95, 0.05, 0.0, 0.0, 0.0)], [])
    assert isinstance(answer, Classification)
    assert answer.value_name == "normal"


def test_an_unsure_study_is_not_assessable(task: Anomalies) -> None:
    (answer,) = task.conclude(image(1, FLOOR - 0.05, 0.45 - 0.0, 0.0, 0.0, 0.0), [frame(1).reference])
    assert isinstance(answer, NotAssessable)
    assert "no class reaches 60%; the likeliest is normal with 55%" in answer.reason


def test_a_study_without_a_suitable_frame_is_not_assessable(task: Anomalies) -> None:
    (answer,) = task.conclude([], [frame(7, "femur").reference])
    assert isinstance(answer, NotAssessable)
    assert answer.frame.sop_instance_uid == "1.7"
    assert "no frame shows" in answer.reason


def test_the_way_of_pooling_is_one_that_was_compared() -> None:
    assert POOLING in POOLINGS
