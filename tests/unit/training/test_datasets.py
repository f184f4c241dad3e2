from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dicom_node.errors import BadInput
from dicom_node.simulator.datasets import box_rows
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.tasks.anomalies.net import ANOMALIES
from dicom_node.tasks.biometry.geometry import Ellipse
from dicom_node.training.augmentation import AS_IT_IS, Augmentation, Kept, keep, moved, shadowed
from dicom_node.training.datasets import (
    SPLIT_SEED,
    AnomalyExample,
    Picture,
    grey_image,
    read_anomalies,
    read_biometry,
    read_boxes,
    read_normal_heads,
    read_planes,
    read_structures,
    split_of,
)
from dicom_node.training.recipe import of_split, recipes_for
from dicom_node.training.recipes.anomalies import UNKNOWN, AnomaliesRecipe, KeptAnomaly, places_of
from dicom_node.training.recipes.structures.detection import moved_boxes


def table(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_the_split_has_its_shares_and_hangs_on_the_seed() -> None:
    groups = [f"planes/{number}" for number in range(4000)]
    splits = [split_of(group) for group in groups]
    assert splits.count("test") / 4000 == pytest.approx(0.15, abs=0.02)
    assert splits.count("valid") / 4000 == pytest.approx(0.10, abs=0.02)
    assert splits == [split_of(group, SPLIT_SEED) for group in groups]
    assert splits != [split_of(group, SPLIT_SEED + 1) for group in groups]


def test_first_trimester_heads_are_split_by_their_number() -> None:
    assert [split_of(f"head_structures/{n:04d}") for n in (7, 1337, 3, 1000)] == ["test", "test", "valid", "train"]


@pytest.mark.parametrize("task", ["planes", "structures", "biometry", "anomalies"])
def test_no_patient_is_in_two_splits(phantoms: Path, task: str) -> None:
    examples = recipes_for(task)[0].read(phantoms)
    parts = {split: {e.picture.group for e in of_split(examples, split)} for split in ("train", "valid", "test")}
    assert sum(len(part) for part in parts.values()) == len({e.picture.group for e in examples})
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["valid"]
    assert not parts["valid"] & parts["test"]


@pytest.mark.data
@pytest.mark.parametrize("task", ["planes", "structures", "biometry", "anomalies"])
def test_no_real_patient_is_in_two_splits_and_no_table_names_a_missing_image(data_dir: Path, task: str) -> None:
    examples = recipes_for(task)[0].read(data_dir)
    groups = [{e.picture.group for e in of_split(examples, split)} for split in ("train", "valid", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert all(groups)
    assert all(example.picture.path.is_file() for example in examples)
    assert not any(example.picture.simulated for example in examples)


def test_biometry_tables_become_shapes(tmp_path: Path) -> None:
    table(
        tmp_path / "head_circumference" / "labels.csv",
        "image,fetus,pixel_size_mm,hc_mm,ellipse_cx_px,ellipse_cy_px,semi_major_px,semi_minor_px,major_axis_deg",
        "000_HC.jpg,000,0.1,57.0,400,270,100,80,90",
    )
    table(
        tmp_path / "biometry_landmarks" / "landmarks.csv",
        "image,patient,region,axis1_x1,axis1_y1,axis1_x2,axis1_y2,axis2_x1,axis2_y1,axis2_x2,axis2_y2,mm_per_px,value_mm",
        "a.jpg,12,abdomen,100,200,300,200,200,50,200,350,0.2,157.1",
        "b.jpg,12,femur,10,20,40,60,,,,,0.3,15",
    )
    head, abdomen, femur = read_biometry(tmp_path)
    assert isinstance(head.shape, Ellipse)
    assert head.shape.perimeter * head.mm_per_px == pytest.approx(56.7, abs=0.2)
    assert np.abs(head.shape.ends(0)[:, 0] - 400).max() < 1e-6  # the major axis stands upright
    assert isinstance(abdomen.shape, Ellipse)
    assert abdomen.shape.lengths == pytest.approx((150.0, 100.0))  # the longer axis first
    assert abdomen.shape.centre == pytest.approx([200.0, 200.0])
    assert isinstance(femur.shape, np.ndarray)
    assert femur.shape.tolist() == [[10.0, 20.0], [40.0, 60.0]]
    assert abdomen.picture.group == femur.picture.group == "planes/12"


def test_anomaly_tables_become_examples(tmp_path: Path) -> None:
    table(
        tmp_path / "brain_anomalies" / "labels.csv",
        "image,label,patient,is_augmented_copy",
        "encephalocele_000.jpg,encephalocele,,0",
        "encephalocele_000_copy.jpg,encephalocele,,1",
        "normal_000.jpg,normal,00709,0",
        "sim00001.jpg,anencephaly,sim00007,0",
        "sim00002.jpg,anencephaly,sim00007,0",
    )
    table(tmp_path / "brain_anomalies" / "lesions.csv", "image,x_min,y_min,x_max,y_max", "sim00001.jpg,10,20,30,40.5")
    table(
        tmp_path / "planes" / "labels.csv",
        "image,patient,plane,brain_plane",
        "a.jpg,709,Fetal brain,",
        "b.jpg,9,Other,",
    )
    alone, normal, shown, missed = read_anomalies(tmp_path)
    assert alone.picture.group == "brain_anomalies/encephalocele_000"
    assert (alone.lesion, alone.shows) == (None, "encephalocele")  # of a real picture no lesion is known
    (head,) = read_normal_heads(tmp_path)
    assert head.picture.group == normal.picture.group == "planes/709"  # one patient of two sets: one split
    assert shown.picture.group == missed.picture.group == "brain_anomalies/sim00007"
    assert (shown.lesion, shown.shows) == ((10.0, 20.0, 30.0, 40.5), "anencephaly")
    assert (missed.label, missed.shows) == ("anencephaly", "normal")
    assert [example.picture.simulated for example in (alone, normal, shown, missed)] == [False, False, True, True]


def test_a_patient_whose_name_is_no_number_has_one_name_in_both_sets(tmp_path: Path) -> None:
    table(
        tmp_path / "brain_anomalies" / "labels.csv",
        "image,label,patient,is_augmented_copy",
        "a.jpg,normal,MV 12,0",
        "b.jpg,normal, 00709 ,0",
    )
    table(tmp_path / "planes" / "labels.csv", "image,patient,plane,brain_plane", "c.jpg,MV 12,Fetal brain,")
    named, numbered = read_anomalies(tmp_path)
    (head,) = read_normal_heads(tmp_path)
    assert named.picture.group == head.picture.group == "planes/MV 12"
    assert numbered.picture.group == "planes/709"


@pytest.mark.parametrize("label", ANOMALIES)
def test_a_real_picture_of_any_class_can_be_drawn(label: str) -> None:
    recipe = AnomaliesRecipe()
    assert recipe.weight(AnomalyExample(Picture(Path("a.jpg"), "planes/1", False), label)) > 0


def test_a_picture_of_one_line_is_kept_as_one(tmp_path: Path) -> None:
    for name, shape in (("wide.png", (1, 3000)), ("high.png", (3000, 1))):
        cv2.imwrite(str(tmp_path / name), np.full(shape, 200, np.uint8))
        kept = keep(tmp_path / name, 128, 96)
        assert min(kept.grey.shape) == 1
        assert max(kept.grey.shape) < 3000
        drawn, matrix = AS_IT_IS.place(kept, 128, 96, np.random.default_rng(0))
        assert drawn.shape == (96, 128)
        assert np.isfinite(matrix).all()


@pytest.mark.data
def test_an_augmented_copy_is_in_no_split(data_dir: Path) -> None:
    names = (data_dir / "brain_anomalies" / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    copies = {line.partition(",")[0] for line in names if line.endswith(",1")}
    assert copies
    assert copies.isdisjoint(example.picture.path.name for example in read_anomalies(data_dir))


def test_simulated_pictures_are_known_by_their_owner(phantoms: Path) -> None:
    assert all(example.picture.simulated for example in [*read_planes(phantoms), *read_structures(phantoms)])


def test_an_empty_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no images"):
        read_planes(tmp_path)
    with pytest.raises(BadInput, match="cannot be read as an image"):
        grey_image(tmp_path / "none.jpg")


def test_a_placed_picture_and_its_labels_move_together(phantoms: Path) -> None:
    example = next(e for e in read_biometry(phantoms) if e.region == "head")
    assert isinstance(example.shape, Ellipse)
    grey = grey_image(example.picture.path)
    spot = np.round(example.shape.centre).astype(int)
    kept = keep(example.picture.path, 256, 192)
    kept.grey[:] = 0
    x, y = np.round(spot * kept.scale).astype(int)
    kept.grey[y - 6 : y + 6, x - 6 : x + 6] = 255
    for seed in range(5):
        change = Augmentation(turn_deg=30, zoom=0.2, stretch=0.1, shift=0.05, mirror=True)
        drawn, matrix = change.place(kept, 256, 192, np.random.default_rng(seed))
        rows, columns = np.nonzero(drawn > 100)
        found = np.array([columns.mean(), rows.mean()]) + 0.5
        (expected,) = moved(np.array([[x, y]]) / kept.scale, matrix)
        assert np.abs(found - expected).max() < 0.7
    assert AS_IT_IS.place(kept, 256, 192, np.random.default_rng(0))[0].shape == (192, 256)
    assert grey.shape[1] >= kept.grey.shape[1]


def test_a_lesion_is_learned_where_it_lies() -> None:
    whole = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    picture = Kept(np.zeros((64, 64), np.uint8), (1.0, 1.0))

    def places(lesion: tuple[float, float, float, float] | None, shown: int) -> list[list[int]]:
        return places_of(KeptAnomaly(picture, lesion, shown, shown, 0), whole, 64, 48).tolist()

    assert places((16, 0, 48, 30), 2) == [[0, 2, 2, 0], [0, 2, 2, 0], [0, 0, 0, 0]]
    assert places((33, 33, 38, 38), 3) == [[0] * 4, [0] * 4, [0, 0, 3, 0]]  # between the centres of places
    assert places(None, 0) == [[0] * 4] * 3
    assert places(None, 2) == [[UNKNOWN] * 4] * 3  # a real anomaly: nobody knows where
    half = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    assert places_of(KeptAnomaly(picture, (32, 0, 96, 60), 2, 2, 0), half, 64, 48).tolist()[0] == [0, 2, 2, 0]


def test_a_shadow_is_one_wedge_that_leads_out_of_the_picture() -> None:
    shares = []
    for seed in range(20):
        shaded = shadowed(np.full((120, 160), 200, dtype=np.uint8), np.random.default_rng(seed))
        dark = (shaded < 150).astype(np.uint8)
        assert (shaded == 200).mean() > 0.4  # all that lies outside stays as it is
        assert cv2.connectedComponents(dark)[0] == 2  # the background and one shadow
        assert dark[-1].any() or dark[:, [0, -1]].any()
        shares.append(dark.mean())
    assert 0.01 < np.mean(shares) < 0.3


def test_a_shadow_is_drawn_for_its_share_of_the_pictures(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 80), 200, dtype=np.uint8))
    kept, rng = keep(tmp_path / "grey.png", 80, 60), np.random.default_rng(0)
    plain = AS_IT_IS.place(kept, 80, 60, rng)[0]
    changed = [bool((Augmentation(shadow=0.5).place(kept, 80, 60, rng)[0] < plain).any()) for _ in range(100)]
    assert 0.35 < np.mean(changed) < 0.65


def test_the_edges_of_a_box_lie_in_the_middle_of_the_pixels_that_the_table_names(tmp_path: Path) -> None:
    table(tmp_path / "boxes.csv", "image,structure,x_min,y_min,x_max,y_max", "1.jpg,midbrain,10,20,30,41")
    assert read_boxes(tmp_path / "boxes.csv") == {"1.jpg": {"midbrain": (10.5, 20.5, 30.5, 41.5)}}


def test_simulated_boxes_come_back_from_their_table_without_a_shift(tmp_path: Path) -> None:
    apart = []
    for number in range(4):
        phantom = sagittal_head(np.random.default_rng(number))
        rows = [",".join(map(str, row)) for row in box_rows(f"sim{number}.jpg", phantom.boxes)]
        table(tmp_path / "boxes.csv", "image,structure,x_min,y_min,x_max,y_max", *rows)
        stored = read_boxes(tmp_path / "boxes.csv")[f"sim{number}.jpg"]
        apart += [np.array(stored[name]) - np.array(box) for name, box in phantom.boxes.items()]
    assert len(apart) > 30
    assert np.abs(apart).max() <= 0.5
    assert np.abs(np.mean(apart, axis=0)).max() < 0.2  # by chance 0.05; half a pixel of shift would be 0.5


def test_a_mirrored_box_is_still_a_box() -> None:
    mirror = np.array([[-1.0, 0.0, 100.0], [0.0, 2.0, 5.0]])
    assert moved_boxes(np.array([[10.0, 20.0, 30.0, 40.0]]), mirror).tolist() == [[70.0, 45.0, 90.0, 85.0]]
