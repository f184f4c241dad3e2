from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dicom_node.simulator.head_condition import CATEGORY_SHARES, LIMITS, HeadCondition, draw_condition
from dicom_node.simulator.records import PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.speckle import GreyImage
from dicom_node.tasks.structures.net import STRUCTURES

USUAL = {name: sum(limits.drawn["normal"][0]) / 2.0 for name, limits in LIMITS.items()}
WIDTH_MM = 6.2


def head(seed: int = 3, **sizes_mm: float | None) -> PhantomImage:
    return sagittal_head(np.random.default_rng(seed), condition=HeadCondition(WIDTH_MM, {**USUAL, **sizes_mm}))


def inside(phantom: PhantomImage, structure: str) -> GreyImage:
    x0, y0, x1, y1 = (round(edge) for edge in phantom.boxes[structure])
    return phantom.pixels[y0 : y1 + 1, x0 : x1 + 1]


def test_every_structure_has_limits() -> None:
    assert set(LIMITS) == set(STRUCTURES)


@pytest.mark.parametrize("name", LIMITS)
def test_sizes_are_drawn_within_their_category_and_short_of_the_next(name: str) -> None:
    limits = LIMITS[name]
    for category, ranges in limits.drawn.items():
        for size_range in ranges:
            assert [limits.category(size) for size in size_range] == [category, category]
    assert limits.category(None) == "abnormal"


@pytest.mark.parametrize(
    ("structure", "size_mm", "category"),
    [
        ("nuchal_translucency", 2.4, "normal"),
        ("nuchal_translucency", 2.5, "borderline"),
        ("nuchal_translucency", 3.5, "abnormal"),
        ("cisterna_magna", 0.4, "abnormal"),
        ("cisterna_magna", 2.5, "abnormal"),
        ("palate", 0.0, "normal"),
        ("palate", 1.6, "abnormal"),
        ("nasal_bone", 1.4, "abnormal"),
    ],
)
def test_limits_are_the_stated_ones(structure: str, size_mm: float, category: str) -> None:
    assert LIMITS[structure].category(size_mm) == category


def test_categories_come_at_their_shares_and_independently() -> None:
    told = [draw_condition(np.random.default_rng(seed)).categories for seed in range(2000)]
    for name in LIMITS:
        counts = Counter(categories[name] for categories in told)
        for category, share in CATEGORY_SHARES.items():
            assert counts[category] / len(told) == pytest.approx(share, abs=0.04)
    thick = [t["nasal_bone"] == "abnormal" for t in told if t["nuchal_translucency"] == "abnormal"]
    assert np.mean(thick) == pytest.approx(CATEGORY_SHARES["abnormal"], abs=0.06)


@pytest.mark.parametrize("structure", [name for name in LIMITS if LIMITS[name].absent_share])
def test_an_absent_structure_is_abnormal_and_has_no_box(structure: str) -> None:
    phantom = head(**{structure: None})
    assert phantom.categories[structure] == "abnormal"
    assert structure not in phantom.boxes
    assert structure not in phantom.measurements_mm


@pytest.mark.parametrize(
    ("structure", "axis", "filled"),
    [("thalami", 1, 1.0), ("midbrain", 1, 1.0), ("fourth_ventricle", 1, 0.72), ("nasal_bone", 0, 0.9)],
)
def test_a_box_has_its_size_in_millimetres(structure: str, axis: int, filled: float) -> None:
    for size_mm in (LIMITS[structure].drawn["normal"][0][0], LIMITS[structure].drawn["abnormal"][0][1]):
        condition = HeadCondition(WIDTH_MM, {**USUAL, structure: size_mm})
        for seed in range(3, 6):
            phantom = sagittal_head(np.random.default_rng(seed), condition=condition)
            box = phantom.boxes[structure]
            length_mm = (box[2 + axis] - box[axis]) * phantom.mm_per_px * filled
            assert length_mm == pytest.approx(size_mm, rel=0.2, abs=0.35)  # the head is turned a little


def test_a_thick_nuchal_translucency_is_a_thick_dark_band() -> None:
    thick, thin = (head(1, nuchal_translucency=mm) for mm in (4.5, 1.2))
    assert thick.boxes["nuchal_translucency"][3] < thick.pixels.shape[0] - 1
    bands = [inside(phantom, "nuchal_translucency") for phantom in (thick, thin)]
    assert (bands[0].shape[0] - bands[1].shape[0]) * thick.mm_per_px == pytest.approx(
        4.5 - 1.2, rel=0.3
    )  # its ends are thinner
    assert np.median(bands[0]) < np.median(bands[1])


def test_an_obliterated_ventricle_is_filled_with_tissue() -> None:
    x0, y0, x1, y1 = (round(edge) for edge in head().boxes["fourth_ventricle"])
    middle = slice((y0 + y1) // 2 - 1, (y0 + y1) // 2 + 2), slice(x0 + 5, x1 - 5)
    assert head(fourth_ventricle=None).pixels[middle].mean() > head().pixels[middle].mean()


def test_a_cleft_palate_is_darker_in_its_middle() -> None:
    assert inside(head(palate=3.0), "palate").mean() < inside(head(), "palate").mean()
