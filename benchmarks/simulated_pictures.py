"""Contact sheets of simulated pictures for the documentation, and real ones beside simulated ones for the reader.

    python benchmarks/simulated_pictures.py                                # docs/images/simulated-*.jpg
    python benchmarks/simulated_pictures.py --data DATA --out compare.jpg  # real above simulated; not to be shared

The second picture holds images of the data sets: it is for the eyes of whoever has the data.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dicom_node.simulator.anomalies.examination import VIEWS, Shot, generators, take
from dicom_node.simulator.anomalies.fetus import SHARES, draw_fetus
from dicom_node.simulator.axial_head import BRAIN_PLANES, axial_head
from dicom_node.simulator.datasets import write_dataset
from dicom_node.simulator.head_condition import LIMITS, HeadCondition
from dicom_node.simulator.phantoms import make_phantom
from dicom_node.simulator.sagittal_head import sagittal_head

Picture = npt.NDArray[np.uint8]
IMAGES = Path(__file__).parent.parent / "docs" / "images"
CAPTION_PX = 18
REAL_SETS = ("head_structures", "head_circumference", "planes", "brain_anomalies")
SIDE_BY_SIDE = 6  #: of each set, real and simulated


def sheet(cells: list[tuple[str, Picture]], columns: int, size: tuple[int, int]) -> Picture:
    """Lay captioned pictures out in rows; `size` is the width and height of a picture."""
    drawn = [_cell(caption, picture, size) for caption, picture in cells]
    drawn += [np.zeros_like(drawn[0])] * (-len(drawn) % columns)
    return np.vstack([np.hstack(drawn[i : i + columns]) for i in range(0, len(drawn), columns)])


def _cell(caption: str, picture: Picture, size: tuple[int, int]) -> Picture:
    scale = min(size[0] / picture.shape[1], size[1] / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.zeros((size[1] + CAPTION_PX, size[0] + 4), dtype=np.uint8)
    left = (size[0] - small.shape[1]) // 2
    cell[CAPTION_PX : CAPTION_PX + small.shape[0], left : left + small.shape[1]] = small
    cv2.putText(cell, caption, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 230, 1, cv2.LINE_AA)
    return cell


def planes() -> Picture:
    """Every plane the simulator knows."""
    cells = [
        (plane, axial_head(np.random.default_rng(k + 3), brain_plane=plane).pixels)
        for k, plane in enumerate(BRAIN_PLANES)
    ]
    for anatomy, seed in (
        *(("sagittal_head", 2), ("abdomen", 4), ("femur", 1), ("thorax", 3), ("cervix", 2), ("other", 2)),
    ):
        cells.append((anatomy.replace("_", " "), make_phantom(anatomy, seed).pixels))
    return sheet(cells, 3, (330, 225))


def anomalies() -> Picture:
    """One row for each class, one column for each view; a view that cannot show the anomaly is as of a normal fetus."""
    cells = []
    for row, label in enumerate(SHARES):
        for column, view in enumerate(VIEWS):
            fetus = replace(draw_fetus(np.random.default_rng(10 + row)), label=label)
            image = take(Shot(fetus, view, shown=True), *generators(7, 5 * row + column))
            cells.append((f"{label}: {view}", image.pixels))
    return sheet(cells, len(VIEWS), (224, 224))


def categories() -> Picture:
    """Crops about each structure on one head: normal, borderline, abnormal, and absent where that is drawn."""
    usual: dict[str, float | None] = {name: sum(limits.drawn["normal"][0]) / 2.0 for name, limits in LIMITS.items()}
    cells = []
    for k, (name, limits) in enumerate(LIMITS.items()):
        sizes = [sum(limits.drawn[category][-1]) / 2.0 for category in ("normal", "borderline", "abnormal")]
        last = None if limits.absent_share else limits.drawn["abnormal"][-1][1]
        middle: tuple[int, int] | None = None
        for size in (*sizes, last):
            condition = HeadCondition(6.2, {**usual, name: size})
            phantom = sagittal_head(np.random.default_rng(k + 1), condition=condition)
            x0, y0, x1, y1 = phantom.boxes.get(name, (0.0, 0.0, 0.0, 0.0))
            middle = middle or (round((x0 + x1) / 2.0), round((y0 + y1) / 2.0))
            reach_x, reach_y = 130, 86
            top = int(np.clip(middle[1] - reach_y, 0, phantom.pixels.shape[0] - 2 * reach_y))
            left = int(np.clip(middle[0] - reach_x, 0, phantom.pixels.shape[1] - 2 * reach_x))
            crop = phantom.pixels[top : top + 2 * reach_y, left : left + 2 * reach_x]
            told = "absent" if size is None else f"{limits.measure} {size:.1f} mm"
            cells.append((f"{name.replace('_', ' ')}: {told}, {limits.category(size)}", crop))
    return sheet(cells, 4, (330, 216))


def compare(data: Path) -> Picture:
    """For each set a row of real pictures and a row of simulated ones."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), dict.fromkeys(REAL_SETS, SIDE_BY_SIDE), seed=2)
        for name in REAL_SETS:
            for source, kind in ((data, "real"), (Path(folder), "simulated")):
                files = sorted((source / name / "images").iterdir())
                chosen = [files[i] for i in np.linspace(0, len(files) - 1, SIDE_BY_SIDE).astype(int)]
                cells = [(f"{kind}: {name}", np.asarray(cv2.imread(str(f), 0), dtype=np.uint8)) for f in chosen]
                rows.append(sheet(cells, SIDE_BY_SIDE, (300, 225)))
    return np.vstack(rows)


def main() -> None:
    """Write the sheets of the documentation, or the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of real data sets")
    parser.add_argument("--out", type=Path, default=Path("compare.jpg"))
    chosen = parser.parse_args()
    if chosen.data is not None:
        pictures = {chosen.out: compare(chosen.data)}
    else:
        pictures = {
            IMAGES / "simulated-planes.jpg": planes(),
            IMAGES / "simulated-anomalies.jpg": anomalies(),
            IMAGES / "simulated-categories.jpg": categories(),
        }
    for path, picture in pictures.items():
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 72])
        print(f"{path}: {picture.shape[1]} x {picture.shape[0]}, {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
