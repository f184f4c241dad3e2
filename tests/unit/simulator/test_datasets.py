from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.cli.models import simulated_images
from dicom_node.simulator import datasets
from dicom_node.simulator.datasets import SETS, write_dataset
from dicom_node.simulator.sets import draw_set

TABLES = {
    "head_structures/planes.csv": "image,width,height,standard_plane,subset",
    "head_structures/boxes.csv": "image,structure,x_min,y_min,x_max,y_max",
    "head_structures/categories.csv": "image,structure,category,absent,size_mm",
    "brain_anomalies/labels.csv": "image,label,patient,is_augmented_copy,view,weeks",
    "brain_anomalies/lesions.csv": "image,x_min,y_min,x_max,y_max",
    "head_circumference/labels.csv": (
        "image,fetus,pixel_size_mm,hc_mm,ellipse_cx_px,ellipse_cy_px,semi_major_px,semi_minor_px,major_axis_deg"
    ),
    "planes/labels.csv": "image,patient,plane,brain_plane,us_machine,width,height,resolution,aspect_known",
    "biometry_landmarks/landmarks.csv": (
        "image,patient,region,axis1_x1,axis1_y1,axis1_x2,axis1_y2,"
        "axis2_x1,axis2_y1,axis2_x2,axis2_y2,mm_per_px,value_mm"
    ),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder, dict.fromkeys(SETS, 5), seed=11)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", TABLES)
def test_tables_have_the_columns_of_the_real_sets(dataset: Path, table: str) -> None:
    assert (dataset / table).read_text(encoding="utf-8").splitlines()[0] == TABLES[table]


def test_sets_that_share_a_folder_share_its_tables(dataset: Path) -> None:
    images = [row["image"] for row in rows(dataset / "head_structures/planes.csv")]
    assert len(set(images)) == 10
    categorised = {row["image"] for row in rows(dataset / "head_structures/categories.csv")}
    assert categorised == {image for image in images if image.startswith("simc")}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_names_an_image_that_exists(dataset: Path, table: str) -> None:
    folder = "planes" if table.startswith("biometry") else table.split("/", maxsplit=1)[0]
    for row in rows(dataset / table):
        assert (dataset / folder / "images" / row["image"]).is_file()


def test_stated_sizes_are_the_sizes_of_the_images(dataset: Path) -> None:
    for folder, table in (("head_structures", "planes.csv"), ("planes", "labels.csv")):
        for row in rows(dataset / folder / table):
            with Image.open(dataset / folder / "images" / row["image"]) as image:
                assert image.size == (int(row["width"]), int(row["height"]))
                assert image.mode == "L"


def test_landmark_values_follow_from_their_axes(dataset: Path) -> None:
    table = rows(dataset / "biometry_landmarks/landmarks.csv")
    assert table
    for row in table:
        ends = [float(row[f"axis{a}_{c}"] or "nan") for a in (1, 2) for c in ("x1", "y1", "x2", "y2")]
        lengths = [np.hypot(ends[i + 2] - ends[i], ends[i + 3] - ends[i + 1]) for i in (0, 4)]
        pixels = lengths[0] if row["region"] == "femur" else np.pi * sum(lengths) / 2
        assert float(row["value_mm"]) == pytest.approx(pixels * float(row["mm_per_px"]), rel=2e-3)


def test_a_larger_set_contains_the_smaller_one(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, dict.fromkeys(SETS, 2), seed=11)
    for image in (tmp_path / "planes/images").iterdir():
        assert image.read_bytes() == (dataset / "planes/images" / image.name).read_bytes()


def test_several_processes_write_the_same_files(tmp_path: Path) -> None:
    alone, shared = (
        draw_set(SETS["brain_anomalies"], tmp_path / str(processes), 6, 1, processes=processes) for processes in (1, 2)
    )
    assert alone == shared
    for path in (tmp_path / "1").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_progress_is_told_image_by_image(tmp_path: Path) -> None:
    told: list[None] = []
    write_dataset(tmp_path, {"planes": 2, "brain_anomalies": 3}, 1, lambda: told.append(None))
    assert len(told) == 5


def test_pictures_that_were_kept_are_used_again_until_the_simulator_draws_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = simulated_images(tmp_path, {"planes": 2}, seed=3)
    assert kept is not None
    (kept / "kept").touch()
    assert simulated_images(tmp_path, {"planes": 2}, seed=3) == kept
    assert (kept / "kept").is_file()
    monkeypatch.setattr(datasets, "EDITION", datasets.EDITION + 1)
    assert simulated_images(tmp_path, {"planes": 2}, seed=3) != kept
