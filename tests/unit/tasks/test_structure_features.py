"""The features of boxes: which they are, that they are what their names say, and that only those asked for are made."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm
from SimpleITK import GetImageFromArray

from dicom_node.tasks.structures.categories import FEATURES, CategoriesNet, pooled
from dicom_node.tasks.structures.deep import DEEP_FEATURES, CropNet, crop_of, deep_features
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import BINS, RADIOMIC_NAMES, USUAL_SIDE_PX, head_scale, radiomic_features
from dicom_node.tasks.structures.reading import BoxReader


@pytest.fixture
def grey() -> np.ndarray:
    rng = np.random.default_rng(3)
    smooth = np.kron(rng.integers(20, 220, (12, 16)), np.ones((20, 20)))
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def test_there_are_215_and_1792_and_their_names_never_move() -> None:
    assert len(RADIOMIC_NAMES) == len(set(RADIOMIC_NAMES)) == 215
    assert FEATURES == 215 + 1792
    # Masks in shipped weights mean this order: a change here makes them select other features.
    digest = hashlib.sha256("\n".join(RADIOMIC_NAMES).encode()).hexdigest()
    assert digest.startswith("0a01ef4e279d")
    assert set(USUAL_SIDE_PX) == set(STRUCTURES)


def test_the_mean_over_an_ellipse_is_the_mean_over_its_pixels() -> None:
    picture = np.zeros((96, 96), dtype=np.uint8)
    picture[:, 48:] = 100
    names = ("original_firstorder_Mean", "original_firstorder_Maximum", "original_firstorder_Minimum")
    # A box of 48 x 48 pixels is taken as it is; half of its ellipse is 0, the other half 100.
    assert radiomic_features(picture, (24.0, 24.0, 72.0, 72.0), names) == pytest.approx([50.0, 100.0, 0.0])


def test_lengths_are_measured_by_the_head(grey: np.ndarray) -> None:
    names = ("ellipse_shape2d_MajorAxisLength", "ellipse_shape2d_MinorAxisLength", "ellipse_shape2d_Elongation")
    found = radiomic_features(grey, (40.0, 40.0, 136.0, 88.0), names)
    assert found == pytest.approx([96.0, 48.0, 0.5], rel=0.03)
    on_a_large_head = radiomic_features(grey, (40.0, 40.0, 136.0, 88.0), names, scale=2.0)
    assert on_a_large_head == pytest.approx(found / [2.0, 2.0, 1.0])
    boxes = {"thalami": (0.0, 0.0, 180.0, 90.0), "palate": (0.0, 0.0, 198.0, 10.0), "nasal_bone": (0.0, 0.0, 9.0, 3.0)}
    assert head_scale(boxes) == pytest.approx(2.0)  # one short nasal bone makes no small head


@pytest.mark.parametrize("thickness", [0.0, 1e-6, 1.0])
def test_a_box_as_thin_as_a_line_has_features_of_a_thin_box(grey: np.ndarray, thickness: float) -> None:
    line = radiomic_features(grey, (50.0, 60.0 - thickness / 2, 110.0, 60.0 + thickness / 2))
    assert line == pytest.approx(radiomic_features(grey, (50.0, 58.0, 110.0, 62.0)), rel=1e-6)


def test_only_what_is_asked_for_is_computed_and_it_is_the_same(grey: np.ndarray) -> None:
    box = (50.0, 60.0, 110.0, 100.0)
    everything = radiomic_features(grey, box)
    assert np.isfinite(everything).all()
    assert np.count_nonzero(everything) > 200
    chosen = [3, 40, 77, 150, 190, 210]
    assert radiomic_features(grey, box, [RADIOMIC_NAMES[i] for i in chosen]) == pytest.approx(everything[chosen])


def test_what_classes_share_changes_no_number_of_pyradiomics(grey: np.ndarray) -> None:
    box = (40.0, 40.0, 88.0, 88.0)  # taken as it is: 48 x 48 pixels
    inside = grey[40:88, 40:88].astype(np.float64)
    y, x = (np.mgrid[:48, :48] + 0.5) / 24 - 1
    picture, region = GetImageFromArray(inside), GetImageFromArray((x**2 + y**2 <= 1).astype(np.uint8))
    found = dict(zip(RADIOMIC_NAMES, radiomic_features(grey, box), strict=True))
    classes = {
        "firstorder": firstorder.RadiomicsFirstOrder,
        "glcm": glcm.RadiomicsGLCM,
        "glrlm": glrlm.RadiomicsGLRLM,
        "glszm": glszm.RadiomicsGLSZM,
        "gldm": gldm.RadiomicsGLDM,
        "ngtdm": ngtdm.RadiomicsNGTDM,
    }
    for kind, computer in classes.items():
        plain = computer(picture, region, label=1, binCount=BINS)
        plain.enableAllFeatures()
        expected = {f"original_{kind}_{name}": float(value) for name, value in plain.execute().items()}
        known = expected.keys() & found.keys()
        assert len(known) == sum(name.startswith(f"original_{kind}_") for name in RADIOMIC_NAMES)
        assert {name: found[name] for name in known} == {name: expected[name] for name in known}


@pytest.mark.parametrize("box", [(0.0, 0.0, 3.0, 2.0), (300.0, 230.0, 320.0, 240.0), (5.0, 5.0, 300.0, 9.0)])
def test_small_long_and_outlying_boxes_have_features_too(grey: np.ndarray, box: tuple[float, ...]) -> None:
    assert np.isfinite(radiomic_features(grey, box)).all()
    assert np.isfinite(radiomic_features(np.zeros_like(grey), box)).all()
    assert crop_of(grey, box, 64).shape == (64, 64)


def test_a_crop_shows_the_box_in_its_middle() -> None:
    picture = np.zeros((200, 300), dtype=np.uint8)
    picture[80:120, 100:140] = 200
    crop = crop_of(picture, (100.0, 80.0, 140.0, 120.0), 60)  # the box is two thirds of the side
    assert crop[12:48, 12:48].min() > 190
    assert crop[:8].max() == crop[:, :8].max() == 0


@pytest.fixture(scope="module")
def crop_net() -> CropNet:
    torch.manual_seed(0)
    return CropNet().eval()


def test_deep_features_are_1792_and_come_in_batches(crop_net: CropNet) -> None:
    crops = list(np.random.default_rng(0).integers(0, 255, (3, 64, 64)).astype(np.uint8))
    together = deep_features(crop_net, crops, "cpu")
    assert together.shape == (3, DEEP_FEATURES)
    assert deep_features(crop_net, crops[1:2], "cpu")[0] == pytest.approx(together[1], abs=1e-4)
    assert deep_features(crop_net, [], "cpu").shape == (0, DEEP_FEATURES)


def test_a_tabtransformer_overfits_one_batch() -> None:
    torch.manual_seed(0)
    selected = torch.zeros(FEATURES, dtype=torch.bool)
    selected[[1, 30, 60, 215, 900]] = True
    net = CategoriesNet(selected).train()
    features, structures = torch.randn(24, 5), torch.arange(24) % len(STRUCTURES)
    wanted = (torch.arange(24) % 2).float()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(60):
        standard, category = net(features, structures)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(standard, wanted)
        loss = loss + torch.nn.functional.cross_entropy(category, torch.arange(24) % 3)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    standard, category = net.eval()(features, structures)
    assert ((standard > 0) == wanted.bool()).float().mean() > 0.9
    assert (category.argmax(-1) == torch.arange(24) % 3).float().mean() > 0.8


def test_each_net_sees_its_own_features_only() -> None:
    selected = torch.zeros(FEATURES, dtype=torch.bool)
    selected[[1, 30, 215, 900]] = True
    net = CategoriesNet(selected).eval()
    assert net.radiomic_names == (RADIOMIC_NAMES[1], RADIOMIC_NAMES[30])
    assert net.deep_indices == [0, 685]
    features, structures = torch.randn(4, 4), torch.zeros(4, dtype=torch.long)
    changed = features.clone()
    changed[:, 2:] += 1.0
    assert torch.equal(net(features, structures, "radiomic_only")[0], net(changed, structures, "radiomic_only")[0])
    assert not torch.equal(net(features, structures, "deep_only")[0], net(changed, structures, "deep_only")[0])


def test_a_frame_is_read_from_all_its_boxes_and_alone_as_in_company(grey: np.ndarray, crop_net: CropNet) -> None:
    selected = torch.zeros(FEATURES, dtype=torch.bool)
    selected[[1, 30, 60, 215, 900]] = True
    torch.manual_seed(1)
    reader = BoxReader(crop_net, 64, CategoriesNet(selected).eval(), "cpu")
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    boxes = {"thalami": (50.0, 60.0, 110.0, 100.0), "nasal_bone": (150.0, 60.0, 190.0, 75.0)}
    both, nothing, again = reader.read([picture] * 3, [boxes, {}, boxes])
    assert nothing is None
    assert both is not None
    assert again is not None
    assert both.standard == pytest.approx(again.standard, abs=1e-5)
    assert set(both.categories) == set(boxes)
    assert both.categories["thalami"].sum() == pytest.approx(1.0)
    assert pooled({"thalami": 2.0, "nasal_bone": -2.0}) == pytest.approx(0.5)
