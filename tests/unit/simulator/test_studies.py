from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_node.errors import BadInput
from dicom_node.simulator.datasets import SETS, write_dataset
from dicom_node.simulator.studies import SimulatedStudy, demo_studies, wrap_images


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[SimulatedStudy]:
    return demo_studies(tmp_path_factory.mktemp("demo"), seed=1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    write_dataset(folder, dict.fromkeys(SETS, 3), seed=2)
    return folder


def test_demo_files_conform_and_name_their_study(demo: list[SimulatedStudy]) -> None:
    assert len(demo) == 3
    for study in demo:
        for path in study.files:
            assert (
                subprocess.run(["/usr/bin/dciodvfy", "-new", str(path)], capture_output=True, check=False).returncode
                == 0
            )
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            assert ds.StudyInstanceUID == study.study_instance_uid
            assert str(ds.PatientName).startswith("SIMULATED^")
    assert len({instance.sop_instance_uid for study in demo for instance in study.instances}) == 9


def test_demo_holds_a_cine_a_biometry_set_and_one_broken_instance(demo: list[SimulatedStudy]) -> None:
    first, biometry, broken = demo
    assert [pydicom.dcmread(path).get("NumberOfFrames", 1) for path in first.files] == [1, 1, 12]
    shown = [instance.phantom.plane for instance in biometry.instances if instance.phantom]
    assert shown == ["Fetal brain", "Fetal abdomen", "Fetal femur", "Fetal brain"]
    assert [instance.decodable for instance in broken.instances] == [True, False]


def test_the_region_of_a_demo_still_measures_what_the_phantom_states(demo: list[SimulatedStudy]) -> None:
    head = demo[1].instances[0]
    assert head.phantom is not None
    assert head.phantom.ellipse is not None
    region = pydicom.dcmread(head.path).SequenceOfUltrasoundRegions[0]
    hc_mm = head.phantom.ellipse.perimeter_px * region.PhysicalDeltaX * 10.0
    assert hc_mm == pytest.approx(head.phantom.measurements_mm["HC"])


def test_the_same_demo_twice_is_the_same_bytes_and_another_time_is_another_study(
    demo: list[SimulatedStudy], tmp_path: Path
) -> None:
    again = demo_studies(tmp_path / "again", seed=1)
    assert [p.read_bytes() for s in again for p in s.files] == [p.read_bytes() for s in demo for p in s.files]
    later = demo_studies(tmp_path / "later", seed=1, now=datetime(2026, 2, 1, 8, 0, tzinfo=UTC))
    assert {s.study_instance_uid for s in later}.isdisjoint({s.study_instance_uid for s in demo})


def test_a_data_set_with_pixel_sizes_becomes_calibrated_stills_and_cines(dataset: Path, tmp_path: Path) -> None:
    studies = wrap_images(dataset / "head_circumference", tmp_path, cines=True, cine_frames=3)
    assert len(studies) == 3
    for study in studies:
        still, cine = (pydicom.dcmread(path) for path in study.files)
        assert still.SequenceOfUltrasoundRegions[0].PhysicalDeltaX > 0
        assert cine.NumberOfFrames == 3
        assert "QualityControlImage" not in still


def test_a_data_set_without_pixel_sizes_is_not_calibrated(dataset: Path, tmp_path: Path) -> None:
    (study,) = wrap_images(dataset / "head_structures", tmp_path, one_study=True, limit=2)
    assert len(study.files) == 2
    assert all("SequenceOfUltrasoundRegions" not in pydicom.dcmread(path) for path in study.files)


def test_a_folder_of_data_sets_is_wrapped_whole_and_names_do_not_clash(dataset: Path, tmp_path: Path) -> None:
    studies = wrap_images(dataset, tmp_path)
    assert len(studies) == len({study.name for study in studies}) == 3 * len(SETS)
    assert all(path.is_file() for study in studies for path in study.files)


def test_landmarks_calibrate_the_planes_they_name(dataset: Path, tmp_path: Path) -> None:
    named = (dataset / "biometry_landmarks/landmarks.csv").read_text(encoding="utf-8")
    for study in wrap_images(dataset / "planes", tmp_path):
        source = study.instances[0].source
        assert source is not None
        assert ("SequenceOfUltrasoundRegions" in pydicom.dcmread(study.files[0])) is (source.name in named)


def test_a_plain_folder_takes_the_pixel_size_it_is_given(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg"):
        Image.fromarray(np.full((40, 60, 3), 80, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    (study,) = wrap_images(tmp_path, tmp_path / "out", one_study=True, mm_per_px=0.3)
    datasets = [pydicom.dcmread(path) for path in study.files]
    assert [ds.PhotometricInterpretation for ds in datasets] == ["RGB", "RGB"]
    assert [ds.SequenceOfUltrasoundRegions[0].PhysicalDeltaX for ds in datasets] == pytest.approx([0.03, 0.03])
    assert [ds.LossyImageCompression for ds in datasets] == ["01", "00"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no images"):
        wrap_images(tmp_path, tmp_path / "out")
