"""Equations against the tables of their own articles, and against each other."""

from __future__ import annotations

import pytest

from dicom_node.domain.biometry_equations import (
    AGES,
    COMPOSITE_AGES,
    GROWTHS,
    WEIGHTS,
    expected_weight_g,
    percentile,
    weight_z_score,
)

# Hadlock 1984, table III: menstrual age (weeks), BPD, HC, AC and FL (cm).
TABLE_III = [
    (20.0, 4.6, 17.7, 15.0, 3.3),
    (24.0, 5.9, 22.4, 19.7, 4.4),
    (28.0, 7.1, 26.6, 24.0, 5.4),
    (32.0, 8.1, 30.1, 28.1, 6.2),
    (36.0, 8.9, 32.8, 31.8, 7.0),
    (40.0, 9.4, 34.6, 35.3, 7.7),
]
# Hadlock 1991, table 1: weeks and the 3rd, 10th, 50th, 90th and 97th percentile (g).
TABLE_1 = [
    (20, 248, 275, 331, 387, 414),
    (30, 1169, 1294, 1559, 1824, 1949),
    (40, 2714, 3004, 3619, 4234, 4524),
]
GROWTH_OF = {growth.size: growth for growth in GROWTHS}
AGE_OF = {equation.sizes[0]: equation for equation in AGES}


@pytest.mark.parametrize("row", TABLE_III)
def test_sizes_at_an_age_are_those_of_the_table(row: tuple[float, ...]) -> None:
    """Table and coefficients are rounded: the article's own AC equation is 0.17 cm short of its table at 40 weeks."""
    age, *sizes = row
    for name, size, room in zip(("BPD", "HC", "AC", "FL"), sizes, (0.08, 0.06, 0.18, 0.08), strict=True):
        assert GROWTH_OF[name].mean_cm(age) == pytest.approx(size, abs=room), name


@pytest.mark.parametrize("row", TABLE_III)
def test_the_age_of_the_table_comes_back_from_its_sizes(row: tuple[float, ...]) -> None:
    """Two regressions over the same fetuses, one in each direction: they part where growth becomes flat."""
    age, bpd, hc, ac, fl = row
    sizes = {"BPD": 10 * bpd, "HC": 10 * hc, "AC": 10 * ac, "FL": 10 * fl}
    for equation in (*AGES, *COMPOSITE_AGES):
        assert equation(sizes) == pytest.approx(age, abs=1.0 if age < 32 else 1.8), equation.sizes


@pytest.mark.parametrize(
    ("name", "size_mm", "weeks"),
    [
        ("HC", 175.0, 20.02),
        ("HC", 300.0, 33.26),
        ("BPD", 50.0, 21.14),
        ("BPD", 90.0, 36.45),
        ("AC", 150.0, 20.24),
        ("AC", 300.0, 33.97),
        ("FL", 33.0, 20.32),
        ("FL", 70.0, 35.90),
    ],
)
def test_the_age_from_one_size_by_hand(name: str, size_mm: float, weeks: float) -> None:
    assert AGE_OF[name]({name: size_mm}) == pytest.approx(weeks, abs=0.01)


@pytest.mark.parametrize("row", TABLE_1)
def test_weights_at_an_age_are_those_of_the_table(row: tuple[float, ...]) -> None:
    age, third, tenth, mean, ninetieth, ninety_seventh = row
    assert expected_weight_g(age) == pytest.approx(mean, abs=1.0)
    for weight, percent in ((third, 3), (tenth, 10), (mean, 50), (ninetieth, 90), (ninety_seventh, 97)):
        assert percentile(weight_z_score(weight, age)) == pytest.approx(percent, abs=0.3)


@pytest.mark.parametrize("row", TABLE_III)
def test_sizes_of_the_one_article_have_the_weight_of_the_other(row: tuple[float, ...]) -> None:
    """Hadlock 1985 on the sizes of 1984 gives the weight of 1991 within the 7.5 % that 1985 states as its error."""
    age, bpd, hc, ac, fl = row
    sizes = {"BPD": 10 * bpd, "HC": 10 * hc, "AC": 10 * ac, "FL": 10 * fl}
    for equation in WEIGHTS:
        assert equation(sizes) == pytest.approx(expected_weight_g(age), rel=0.075), equation.sizes


def test_the_weight_by_hand() -> None:
    sizes = {"BPD": 80.0, "HC": 290.0, "AC": 280.0, "FL": 60.0}
    by_code = {equation.concept.value: equation(sizes) for equation in WEIGHTS}
    assert by_code["11746-5"] == pytest.approx(10 ** (1.326 - 0.54768 + 0.3103 + 1.2264 + 0.948), rel=1e-9)
    assert by_code["11732-5"] == pytest.approx(10 ** (1.3596 - 0.64848 + 0.1856 + 0.13664 + 1.1872 + 1.044), rel=1e-9)
    assert by_code["11735-8"] == pytest.approx(10 ** (1.335 - 0.5712 + 0.2528 + 1.2796 + 0.9738), rel=1e-9)
    assert by_code["11751-5"] == pytest.approx(10 ** (1.304 + 1.47868 + 1.1628 - 0.672), rel=1e-9)


def test_percentiles_are_those_of_the_normal_distribution() -> None:
    assert [percentile(z) for z in (-1.2816, 0.0, 1.8808)] == pytest.approx([10.0, 50.0, 97.0], abs=0.01)
