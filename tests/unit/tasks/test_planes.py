"""The gate's own explanations, with random weights: no answer is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, HeatMap
from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.inference.attention import GRID, Attention
from dicom_node.inference.manifest import Input, Manifest, Network, Output, Value
from dicom_node.inference.registry import load_task
from dicom_node.tasks.planes import Planes
from dicom_node.tasks.planes.net import BRAIN_PLANES, PLANES, PlanesNet

ROOT = Path(__file__).parents[3]


def output(name: str, classes: tuple[str, ...]) -> Output:
    values = tuple(Value(name=one, concept=Concept(one.upper()[:16], "99FETALAI", one)) for one in classes)
    return Output(name=name, kind="classification", concept=Concept(name.upper(), "99FETALAI", name), values=values)


@pytest.fixture(scope="module")
def net() -> PlanesNet:
    torch.manual_seed(1)
    return PlanesNet().eval().requires_grad_(requires_grad=False)


def gate(net: PlanesNet, *, explain: bool) -> Planes:
    seen = Network(sha256="0" * 64, input=Input(width=96, height=64, channels=1))
    outputs = (output("plane", PLANES), output("brain_plane", BRAIN_PLANES))
    manifest = Manifest.model_construct(folder=Path(), outputs=outputs, networks={"efficientnet_lite0": seen})
    return Planes(manifest, net, Attention(net.pool, net.perceptron, net.planes), "cpu", explain=explain)


def frame(number: int) -> Frame:
    pixels = np.random.default_rng(number).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    return Frame(FrameReference("1.2", f"1.{number}"), pixels, Calibration(reason="none"))


def test_each_frame_is_explained_by_what_spoke_for_its_plane(net: PlanesNet) -> None:
    frames = [frame(1), frame(2), frame(3)]
    found = gate(net, explain=True).predict(frames)
    planes = [one for one in found if isinstance(one, Classification) and one.name == "plane"]
    maps = [one for one in found if isinstance(one, HeatMap)]
    assert [(one.frames[0], one.value) for one in planes] == [(one.frame, one.value) for one in maps]
    for plane, heat in zip(planes, maps, strict=True):
        assert heat.probability == dict(plane.probabilities)[plane.value]
        assert np.array(heat.values).shape == GRID
        assert max(max(row) for row in heat.values) > 0.5


def test_an_explanation_changes_no_answer(net: PlanesNet) -> None:
    frames = [frame(1), frame(2)]
    explained = [one for one in gate(net, explain=True).predict(frames) if not isinstance(one, HeatMap)]
    assert explained == gate(net, explain=False).predict(frames)


def test_the_planes_of_a_brain_are_those_of_both_its_views() -> None:
    task = load_task("planes", ROOT / "models", "cpu")
    assert isinstance(task, Planes)

    def both_views(name: str) -> np.ndarray:
        pixels = cv2.imread(str(ROOT / "tests" / "tasks" / "pictures" / name))
        assert pixels is not None
        seen = [np.asarray(view, dtype=np.uint8) for view in (pixels, np.ascontiguousarray(pixels[:, ::-1]))]
        return task.look([replace(frame(1), pixels=view) for view in seen])[1]

    brain, femur = both_views("brain.jpg"), both_views("femur.jpg")
    assert brain[0] == pytest.approx(brain[1], abs=1e-4)
    assert femur[0] != pytest.approx(femur[1], abs=1e-3)
