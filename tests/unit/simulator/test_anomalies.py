from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dicom_node.simulator.anomalies.examination import PICTURE_PX, PROTOCOL, VIEWS, Shot, examination, generators, take
from dicom_node.simulator.anomalies.fetus import NORMAL, SHARES, draw_fetus
from dicom_node.simulator.datasets import write_dataset

FETUS = draw_fetus(np.random.default_rng(5))
SHOWING = [(view, label) for view in VIEWS for label in VIEWS[view].shows]


def picture(label: str, view: str, number: int = 3) -> npt.NDArray[np.float64]:
    image = take(Shot(replace(FETUS, label=label), view, shown=True), *generators(9, number))
    return image.pixels.astype(np.float64)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("anomalies")
    write_dataset(out, {"brain_anomalies": 24}, seed=2)
    return out / "brain_anomalies"


def test_an_image_has_the_label_of_its_patient(dataset: Path) -> None:
    of_patient: dict[str, set[str]] = {}
    for row in rows(dataset / "labels.csv"):
        assert (dataset / "images" / row["image"]).is_file()
        assert row["patient"].startswith("sim")
        of_patient.setdefault(row["patient"], set()).add(row["label"])
    assert len(of_patient) > 1
    assert all(len(labels) == 1 for labels in of_patient.values())


def test_lesions_lie_in_images_of_anomalous_patients(dataset: Path) -> None:
    labels = {row["image"]: row["label"] for row in rows(dataset / "labels.csv")}
    lesions = rows(dataset / "lesions.csv")
    assert lesions
    for row in lesions:
        assert labels[row["image"]] != NORMAL
        assert 0 <= float(row["x_min"]) < float(row["x_max"]) < PICTURE_PX
        assert 0 <= float(row["y_min"]) < float(row["y_max"]) < PICTURE_PX


def test_examinations_take_five_to_eight_images_and_show_what_there_is() -> None:
    plans = [examination(4, patient) for patient in range(150)]
    assert {shot.fetus.label for plan in plans for shot in plan} == set(SHARES)
    assert {len(plan) for plan in plans} == {5, 6, 7, 8}
    for plan in plans:
        assert set(PROTOCOL) <= {shot.view for shot in plan}
        assert any(shot.shown for shot in plan) == (plan[0].fetus.label != NORMAL)
    hidden = [shot for plan in plans for shot in plan if not shot.shown and shot.fetus.label != NORMAL]
    assert hidden  # pooling over the patient has work to do


def test_age_does_not_depend_on_the_class() -> None:
    fetuses = [draw_fetus(np.random.default_rng(seed)) for seed in range(3000)]
    early = [np.mean([f.first_trimester for f in fetuses if f.label == label]) for label in SHARES]
    assert max(early) - min(early) < 0.1


@pytest.mark.parametrize(("view", "label"), SHOWING)
def test_the_picture_differs_where_the_lesion_is(view: str, label: str) -> None:
    fetus = replace(FETUS, label=label)
    image = take(Shot(fetus, view, shown=True), *generators(9, 3))
    assert image.lesion is not None
    x0, y0, x1, y1 = (round(edge) for edge in image.lesion)
    change = np.abs(picture(label, view) - picture(NORMAL, view))
    assert change[y0 : y1 + 1, x0 : x1 + 1].mean() > 2.0 * change.mean()


@pytest.mark.parametrize("view", VIEWS)
def test_a_hidden_lesion_is_no_lesion(view: str) -> None:
    for label in SHARES:
        image = take(Shot(replace(FETUS, label=label), view, shown=False), *generators(9, 3))
        assert image.lesion is None
        assert np.array_equal(image.pixels, picture(NORMAL, view))


@pytest.mark.parametrize(("view", "label"), SHOWING)
def test_the_frame_cannot_know_the_class(view: str, label: str) -> None:
    # Same frame, other fetus: text, sector and border are the same but for the clutter that the body sends there.
    change = np.abs(picture(label, view) - picture(NORMAL, view))
    border = np.concatenate([change[:12].ravel(), change[:, :12].ravel(), change[:, -12:].ravel()])
    assert np.median(border) == 0.0
    assert np.quantile(border, 0.75) <= 1.0


def test_the_same_seed_draws_the_same_picture() -> None:
    shot = examination(1, 0)[0]
    first, again = take(shot, *generators(1, 0)), take(shot, *generators(1, 0))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, take(shot, *generators(1, 1)).pixels)
