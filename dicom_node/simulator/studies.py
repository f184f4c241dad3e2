"""Studies on disk: the three of the demo, and any folder of images dressed as a scanner would send it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.errors import BadInput
from dicom_node.simulator.axial_head import axial_head
from dicom_node.simulator.femur import femur
from dicom_node.simulator.records import PhantomImage
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.scanner import (
    FIRST_LIGHT,
    Examination,
    cine,
    moving_frames,
    still,
    undecodable_cine,
    write_instance,
)
from dicom_node.simulator.speckle import GreyImage
from dicom_node.simulator.trunk import abdomen

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
DEMO_CINE_FRAMES = 12


@dataclass(frozen=True, slots=True)
class SimulatedInstance:
    """One DICOM file, and what it shows where that is known."""

    path: Path
    sop_instance_uid: str
    phantom: PhantomImage | None = None  #: the truth about a simulated picture
    source: Path | None = None  #: the image that was wrapped
    decodable: bool = True


@dataclass(frozen=True, slots=True)
class SimulatedStudy:
    """One study as a scanner would send it."""

    name: str
    description: str
    patient_name: str
    study_instance_uid: str
    instances: tuple[SimulatedInstance, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The study's DICOM files, in the order in which they were made."""
        return tuple(instance.path for instance in self.instances)


def demo_studies(out: Path, seed: int, now: datetime = FIRST_LIGHT) -> list[SimulatedStudy]:
    """Write the demo's three studies under `out`: first-trimester head, biometry set, and one with a broken cine.

    The same seed and `now` write the same files.
    """
    rng = np.random.default_rng(seed)
    key = f"demo-{seed}-{now:%Y%m%d%H%M%S}"
    return [make(out, key, rng, now) for make in (_first_trimester, _biometry, _partly_broken)]


def wrap_images(
    folder: Path,
    out: Path,
    *,
    stills: bool = True,
    cines: bool = False,
    one_study: bool = False,
    limit: int | None = None,
    seed: int = 0,
    cine_frames: int = 12,
    mm_per_px: float | None = None,
    now: datetime = FIRST_LIGHT,
) -> list[SimulatedStudy]:
    """Dress the images of a folder as ultrasound studies under `out`: one study each, or one for all.

    `folder` is a data set (`images/` beside tables), a folder of such data sets, or a plain folder of images. A still
    or cine gets a calibrated region when a table states the image's pixel size, or when `mm_per_px` gives it for all.
    `limit` draws that many images by `seed`. Raises BadInput when the folder holds no image.
    """
    rng = np.random.default_rng(seed)
    images = _find_images(folder)
    if not images:
        raise BadInput(f"no images in {folder}")
    if limit is not None and limit < len(images):
        images = [images[i] for i in sorted(rng.choice(len(images), limit, replace=False))]
    sizes = _pixel_sizes({image.parent.parent for image in images} | {folder})
    # What changes the bytes changes the UIDs, so no two contents ever share one.
    options = f"wrap-{stills}-{cines}-{one_study}-{limit}-{seed}-{cine_frames}-{mm_per_px}-{now:%Y%m%d%H%M%S}"
    groups = [images] if one_study else [[image] for image in images]
    studies = []
    for group in groups:
        name = folder.resolve().name if one_study else _study_name(group[0], folder)
        key = f"{options}-{name}"
        exam = _examination(key, name, "Wrapped images", now, phantom=False)
        made: list[SimulatedInstance] = []
        for image in group:
            pixels = _read(image)
            scale = sizes.get((image.parent.parent, image.name), mm_per_px)
            if stills:
                number = len(made) + 1
                made.append(
                    _save(out / name, still(pixels, exam, number, scale, _lossy_ratio(image, pixels)), source=image)
                )
            if cines:
                number = len(made) + 1
                frames = moving_frames(pixels, cine_frames, rng)
                made.append(_save(out / name, cine(frames, exam, number, scale), source=image))
        studies.append(_study(name, exam, made))
    return studies


def _first_trimester(out: Path, key: str, rng: np.random.Generator, now: datetime) -> SimulatedStudy:
    exam = _examination(f"{key}-1", "FIRST TRIMESTER", "First-trimester scan, mid-sagittal head", now)
    folder = out / "1-first-trimester"
    heads = [sagittal_head(rng) for _ in range(3)]
    made = [_save_still(folder, head, exam, number) for number, head in enumerate(heads[:2], start=1)]
    made.append(_save_cine(folder, heads[2], exam, 3, rng))
    return _study(folder.name, exam, made)


def _biometry(out: Path, key: str, rng: np.random.Generator, now: datetime) -> SimulatedStudy:
    exam = _examination(f"{key}-2", "SECOND TRIMESTER", "Second-trimester biometry", now)
    folder = out / "2-biometry"
    weeks = float(rng.uniform(19.0, 24.0))
    head = axial_head(rng, brain_plane="Trans-thalamic", weeks=weeks)
    shown = [head, abdomen(rng, weeks=weeks), femur(rng, weeks=weeks)]
    made = [_save_still(folder, phantom, exam, number) for number, phantom in enumerate(shown, start=1)]
    made.append(_save_cine(folder, head, exam, 4, rng))
    return _study(folder.name, exam, made)


def _partly_broken(out: Path, key: str, rng: np.random.Generator, now: datetime) -> SimulatedStudy:
    exam = _examination(f"{key}-3", "BROKEN INSTANCE", "One sound still, one undecodable cine", now)
    folder = out / "3-broken-instance"
    head = axial_head(rng, brain_plane="Trans-thalamic", weeks=float(rng.uniform(19.0, 24.0)))
    broken = undecodable_cine(moving_frames(head.pixels, 4, rng), exam, 2)
    made = [_save_still(folder, head, exam, 1), _save(folder, broken, decodable=False)]
    return _study(folder.name, exam, made)


def _examination(key: str, name: str, description: str, now: datetime, *, phantom: bool = True) -> Examination:
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in name.upper()).strip()[:40]
    return Examination(
        key=key,
        patient_name=f"SIMULATED^{plain}",
        patient_id=f"SIM-{plain.replace(' ', '-')}",
        description=description,
        started=now,
        phantom=phantom,
    )


def _study(name: str, exam: Examination, made: list[SimulatedInstance]) -> SimulatedStudy:
    return SimulatedStudy(name, exam.description, exam.patient_name, str(exam.study_instance_uid), tuple(made))


def _save_still(folder: Path, phantom: PhantomImage, exam: Examination, number: int) -> SimulatedInstance:
    return _save(folder, still(phantom.pixels, exam, number, phantom.mm_per_px), phantom=phantom)


def _save_cine(
    folder: Path, phantom: PhantomImage, exam: Examination, number: int, rng: np.random.Generator
) -> SimulatedInstance:
    frames = moving_frames(phantom.pixels, DEMO_CINE_FRAMES, rng)
    return _save(folder, cine(frames, exam, number, phantom.mm_per_px), phantom=phantom)


def _save(
    folder: Path,
    ds: Dataset,
    *,
    phantom: PhantomImage | None = None,
    source: Path | None = None,
    decodable: bool = True,
) -> SimulatedInstance:
    path = write_instance(ds, folder / f"IM{int(ds.InstanceNumber):04d}.dcm")
    return SimulatedInstance(path, str(ds.SOPInstanceUID), phantom, source, decodable)


def _find_images(folder: Path) -> list[Path]:
    """List the images of a data set, of several data sets, or of a plain folder, in the order of their names."""
    for pattern in ("images/*", "*/images/*", "*"):
        found = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in IMAGE_SUFFIXES)
        if found:
            return found
    return []


def _study_name(image: Path, folder: Path) -> str:
    """Name a study after its image, and after the image's data set where the folder holds several."""
    *above, _ = image.relative_to(folder).parts
    return "-".join([*(part for part in above if part != "images"), image.stem])


def _pixel_sizes(datasets: set[Path]) -> dict[tuple[Path, str], float]:
    """Collect the pixel sizes (mm) that tables state, by data set folder and image name."""
    sizes: dict[tuple[Path, str], float] = {}
    for folder in datasets:
        for table, column in (
            (folder.parent / "biometry_landmarks" / "landmarks.csv" if folder.name == "planes" else None, "mm_per_px"),
            (folder / "labels.csv", "pixel_size_mm"),
        ):
            if table is None or not table.is_file():
                continue
            with table.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if row.get(column):
                        sizes[folder, row["image"]] = float(row[column])
    return sizes


def _lossy_ratio(path: Path, pixels: GreyImage) -> float | None:
    return pixels.nbytes / path.stat().st_size if path.suffix.lower() in {".jpg", ".jpeg"} else None


def _read(path: Path) -> GreyImage:
    """Read an image as (H, W) grey or (H, W, 3) RGB."""
    with Image.open(path) as image:
        grey = image.mode in {"L", "1", "I", "F", "LA"}
        return np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8)
