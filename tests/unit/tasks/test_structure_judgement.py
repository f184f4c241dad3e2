"""What is said of a head's boxes: quality first, categories only on a standard plane, and learned from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Classification, NotAssessable
from dicom_node.domain.frame import Calibration, Frame, FrameReference
from dicom_node.errors import ModelError
from dicom_node.inference.manifest import Input, Manifest, Network, Output, Value
from dicom_node.inference.weights import save_weights
from dicom_node.tasks.structures.categories import CATEGORIES, FEATURES, CategoriesNet, categories_net
from dicom_node.tasks.structures.deep import CropNet
from dicom_node.tasks.structures.judgement import CATEGORY, LEARNED_FROM, NORMALITY, PLANE_QUALITY, QUALITIES, Judge
from dicom_node.tasks.structures.net import STRUCTURES

MODELS = Path(__file__).parents[3] / "models"
BOXES = {"thalami": (50.0, 60.0, 110.0, 100.0), "nuchal_translucency": (100.0, 150.0, 200.0, 170.0)}


def output(name: str, values: tuple[str, ...]) -> Output:
    coded = tuple(Value(name=value, concept=Concept(value[:16].upper(), "99FETALAI", value)) for value in values)
    return Output(name=name, kind="classification", concept=Concept(name[:16], "99FETALAI", name), values=coded)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The shipped manifest with untrained networks of ours."""
    folder = tmp_path_factory.mktemp("models") / "structures"
    folder.mkdir()
    torch.manual_seed(0)
    selected = torch.zeros(FEATURES, dtype=torch.bool)
    selected[[0, 20, 100, 215, 700]] = True
    net = CategoriesNet(selected)
    net.mean += 1e6  # what half precision could not hold
    save_weights(net.state_dict(), folder / "categories.safetensors")
    save_weights(CropNet().state_dict(), folder / "efficientnet_b4.safetensors")
    shipped = Manifest.read(MODELS / "structures")
    crops = Network(sha256="0" * 64, input=Input(width=32, height=32, channels=1))
    outputs = [one for one in shipped.outputs if one.kind == "detection"]
    outputs += [output(PLANE_QUALITY, QUALITIES), output(CATEGORY, CATEGORIES)]
    changes: dict[str, Any] = {
        "folder": folder,
        "outputs": tuple(outputs),
        "networks": {"efficientnet_b4": crops, "categories": Network(sha256="0" * 64)},
    }
    return shipped.model_copy(update=changes)


@pytest.fixture
def frame() -> Frame:
    pixels = np.random.default_rng(0).integers(0, 255, (240, 320, 1)).astype(np.uint8).repeat(3, axis=2)
    return Frame(FrameReference("1.2", "1.2.3"), pixels, Calibration(reason="none"))


def say(judge: Judge, standard: float, category: tuple[float, float, float]) -> None:
    """Make the fused network answer this, whatever it sees."""
    net = judge.reader._net.modes["fused"]
    net.standard.weight.data.zero_()
    net.standard.bias.data.fill_(standard)
    net.category.weight.data.zero_()
    net.category.bias.data.copy_(torch.tensor(category))


def test_a_standard_plane_has_a_category_for_each_structure(manifest: Manifest, frame: Frame) -> None:
    judge = Judge.load(manifest, "cpu")
    say(judge, 3.0, (0.0, 4.0, 0.0))
    said, nothing = judge.findings([frame, frame], [BOXES, {}])
    assert nothing == []
    quality, first, second = said
    assert isinstance(quality, Classification)
    assert (quality.value_name, quality.site, quality.qualifier) == ("standard", None, LEARNED_FROM[PLANE_QUALITY])
    assert quality.probabilities[0][1] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=1e-6)
    assert isinstance(first, Classification)
    assert isinstance(second, Classification)
    assert (first.name, first.value_name) == ("thalami_category", "borderline")
    assert second.site == Concept("4658004", "SCT", "Skin of nuchal region")
    assert "simulated" in str(second.qualifier)
    assert sum(probability for _, probability in second.probabilities) == pytest.approx(1.0)


def test_what_is_unsure_or_not_standard_is_not_assessable(manifest: Manifest, frame: Frame) -> None:
    judge = Judge.load(manifest, "cpu")
    say(judge, 3.0, (0.0, 0.0, 0.1))
    _, *unsure = judge.findings([frame], [BOXES])[0]
    assert [type(finding) for finding in unsure] == [NotAssessable, NotAssessable]
    say(judge, -3.0, (0.0, 4.0, 0.0))
    quality, *rest = judge.findings([frame], [BOXES])[0]
    assert isinstance(quality, Classification)
    assert quality.value_name == "non_standard"
    assert [(type(finding), finding.name) for finding in rest] == [(NotAssessable, NORMALITY)]


def test_what_was_selected_and_its_moments_survive_the_file(manifest: Manifest) -> None:
    path = manifest.weights_path("categories")
    net = categories_net(path)
    assert int(net.selected.sum()) == 5
    judge = Judge.load(manifest, "cpu")
    assert judge.reader._net.mean.dtype == torch.float64
    assert judge.reader._net.mean.min() == 1e6
    assert judge.reader._net.mean.shape == (len(STRUCTURES), 5)
    with pytest.raises(ModelError, match="does not fit"):
        categories_net(manifest.weights_path("efficientnet_b4"))


def test_a_manifest_with_other_classes_is_refused(manifest: Manifest) -> None:
    others = (*manifest.outputs[:-1], output(CATEGORY, ("good", "bad")))
    with pytest.raises(ModelError, match="values of category"):
        Judge.load(manifest.model_copy(update={"outputs": others}), "cpu")
