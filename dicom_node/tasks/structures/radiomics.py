"""215 radiomic features of what lies in a structure's box, by pyradiomics.

The region is the ellipse inside the box: structures are round or long, and the corners of their boxes show their
neighbours. It is brought, undistorted, to ``AREA`` pixels before anything is counted, so that matrices of small and
large structures, and of near and far views, have the same number of pixels. Grey values mean nothing between machines
and gains, so they are cut into ``BINS`` bins between the region's own extremes (a fixed number of bins, as the IBSI
asks for arbitrary units). Nothing says how large a pixel is, so lengths are measured by the head: in pixels of a
picture where the head has its usual size (``head_scale``).

| features | image | classes |
|---|---|---|
| 9 | (the ellipse) | shape 2D |
| 93 | original | first order 18, GLCM 24, GLRLM 16, GLSZM 16, GLDM 14, NGTDM 5 |
| 77 | Laplacian of Gaussian, 2 px | the same but GLSZM: zones of a band-passed picture are single pixels |
| 36 | wavelet (coiflet 1) LH and HL | first order: how much edge lies along each axis |

Sources: van Griethuysen et al., Cancer Res 2017; Zwanenburg et al. (IBSI), Radiology 2020.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.inference.letterbox import warp

Grey = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]
Features = npt.NDArray[np.float64]

AREA = 48 * 48  #: of the box, in pixels, when features are taken
THINNEST_PX = 4.0  #: side of a box, at least: a line has no texture, and stretched to ``AREA`` no end
MARGIN_PX = 8  #: around it: filters look beyond the region's edge
BINS = 32
SIGMA_PX = 2.0
WAVELET = "coif1"
#: Median of the longer side of every structure's box on the training images of ``head_structures``, in pixels.
USUAL_SIDE_PX = {
    "thalami": 90.0,
    "midbrain": 86.0,
    "palate": 99.0,
    "fourth_ventricle": 61.0,
    "cisterna_magna": 93.0,
    "nuchal_translucency": 267.0,
    "nasal_tip": 28.0,
    "nasal_skin": 26.0,
    "nasal_bone": 37.0,
}

SHAPE = (
    *("Elongation", "MajorAxisLength", "MaximumDiameter", "MeshSurface", "MinorAxisLength"),
    *("Perimeter", "PerimeterSurfaceRatio", "PixelSurface", "Sphericity"),
)
FIRST_ORDER = (
    *("10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis", "Maximum"),
    *("Mean", "MeanAbsoluteDeviation", "Median", "Minimum", "Range", "RobustMeanAbsoluteDeviation"),
    *("RootMeanSquared", "Skewness", "TotalEnergy", "Uniformity", "Variance"),
)
GLCM = (
    *("Autocorrelation", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast", "Correlation"),
    *("DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "Id", "Idm", "Idmn", "Idn", "Imc1", "Imc2"),
    *("InverseVariance", "JointAverage", "JointEnergy", "JointEntropy", "MCC", "MaximumProbability"),
    *("SumAverage", "SumEntropy", "SumSquares"),
)
GLRLM = (
    *("GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance", "HighGrayLevelRunEmphasis"),
    *("LongRunEmphasis", "LongRunHighGrayLevelEmphasis", "LongRunLowGrayLevelEmphasis", "LowGrayLevelRunEmphasis"),
    *("RunEntropy", "RunLengthNonUniformity", "RunLengthNonUniformityNormalized", "RunPercentage", "RunVariance"),
    *("ShortRunEmphasis", "ShortRunHighGrayLevelEmphasis", "ShortRunLowGrayLevelEmphasis"),
)
GLSZM = (
    *("GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance", "HighGrayLevelZoneEmphasis"),
    *("LargeAreaEmphasis", "LargeAreaHighGrayLevelEmphasis", "LargeAreaLowGrayLevelEmphasis"),
    *("LowGrayLevelZoneEmphasis", "SizeZoneNonUniformity", "SizeZoneNonUniformityNormalized", "SmallAreaEmphasis"),
    *("SmallAreaHighGrayLevelEmphasis", "SmallAreaLowGrayLevelEmphasis", "ZoneEntropy", "ZonePercentage"),
    "ZoneVariance",
)
GLDM = (
    *("DependenceEntropy", "DependenceNonUniformity", "DependenceNonUniformityNormalized", "DependenceVariance"),
    *("GrayLevelNonUniformity", "GrayLevelVariance", "HighGrayLevelEmphasis", "LargeDependenceEmphasis"),
    *("LargeDependenceHighGrayLevelEmphasis", "LargeDependenceLowGrayLevelEmphasis", "LowGrayLevelEmphasis"),
    *("SmallDependenceEmphasis", "SmallDependenceHighGrayLevelEmphasis", "SmallDependenceLowGrayLevelEmphasis"),
)
NGTDM = ("Busyness", "Coarseness", "Complexity", "Contrast", "Strength")

TEXTURE = {"glcm": GLCM, "glrlm": GLRLM, "glszm": GLSZM, "gldm": GLDM, "ngtdm": NGTDM}
WITHOUT_ZONES = {kind: names for kind, names in TEXTURE.items() if kind != "glszm"}
PLAN: dict[str, dict[str, tuple[str, ...]]] = {
    "ellipse": {"shape2d": SHAPE},
    "original": {"firstorder": FIRST_ORDER, **TEXTURE},
    "log": {"firstorder": FIRST_ORDER, **WITHOUT_ZONES},
    "wavelet-LH": {"firstorder": FIRST_ORDER},
    "wavelet-HL": {"firstorder": FIRST_ORDER},
}
#: ``image_class_Feature`` of each of the 215, in the one order that masks and tables mean.
RADIOMIC_NAMES = tuple(
    f"{image}_{kind}_{name}" for image, classes in PLAN.items() for kind, names in classes.items() for name in names
)


@dataclass(slots=True)
class Bins:
    """A region's grey values in bins, once some class of features has cut them; they are the same for all classes."""

    values: npt.NDArray[Any] | None = None
    coefficients: dict[str, Any] = field(default_factory=dict)


class _OnceOnly:
    """Before a class of pyradiomics: keeps it from doing again what it or another class has done before."""

    settings: dict[str, Any]
    coefficients: dict[str, Any]

    @classmethod
    @cache
    def getFeatureNames(cls) -> dict[str, bool]:  # noqa: N802 - pyradiomics' name; it reads the class's source
        names: dict[str, bool] = super().getFeatureNames()  # type: ignore[misc]
        return names

    def _applyBinning(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:  # noqa: N802 - pyradiomics' name
        bins: Bins = self.settings["bins"]
        if bins.values is None:
            bins.values = super()._applyBinning(values)  # type: ignore[misc]
            bins.coefficients = dict(self.coefficients)
        self.coefficients.update(bins.coefficients)
        return bins.values


def radiomic_features(grey: Grey, box: Box, names: Sequence[str] = RADIOMIC_NAMES, scale: float = 1.0) -> Features:
    """Give features (names,) of a box (x0, y0, x1, y1; picture pixels) of a grey picture (rows, columns).

    ``scale`` is the head's (``head_scale``). Only the images and classes that hold a wanted feature are computed. A
    feature that is not defined for a region (a correlation where all is one grey) is 0.
    """
    wanted: dict[str, dict[str, list[str]]] = {}
    for full_name in names:
        image, kind, name = full_name.split("_")
        wanted.setdefault(image, {}).setdefault(kind, []).append(name)
    patch, zoom = box_patch(grey, box)
    ellipse = _ellipse(patch.shape)
    region = _itk(ellipse)
    found: dict[str, float] = {}
    for image, classes in wanted.items():
        if image == "ellipse":
            measured = _itk(ellipse, 1.0 / (zoom * scale))
            picture, inside = measured, measured
        else:
            picture, inside = _itk(_filtered(patch, image)), region
        bins = Bins()
        for kind, wanted_names in classes.items():
            computed = _computed(kind, picture, inside, wanted_names, bins)
            found |= {f"{image}_{kind}_{name}": value for name, value in computed.items()}
    values = np.array([found[name] for name in names], dtype=np.float64)
    return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))


def head_scale(boxes: Mapping[str, Box]) -> float:
    """Say how much larger than usual a head is drawn: the median over its structures, of which few are abnormal."""
    return float(np.median([max(x1 - x0, y1 - y0) / USUAL_SIDE_PX[name] for name, (x0, y0, x1, y1) in boxes.items()]))


def box_patch(grey: Grey, box: Box) -> tuple[npt.NDArray[np.float64], float]:
    """Cut a box with its margin out of a picture, brought to ``AREA`` pixels, and give the scale that did it."""
    (x0, x1), (y0, y1) = _thick(box[0], box[2]), _thick(box[1], box[3])
    scale = float(np.sqrt(AREA / ((x1 - x0) * (y1 - y0))))
    width, height = (max(round((end - start) * scale), 3) for start, end in ((x0, x1), (y0, y1)))
    reach = int(np.ceil(MARGIN_PX / scale)) + 1
    left, top = max(int(x0) - reach, 0), max(int(y0) - reach, 0)
    part = grey[top : int(np.ceil(y1)) + reach, left : int(np.ceil(x1)) + reach]
    middle = np.array([(x0 + x1) / 2 - left, (y0 + y1) / 2 - top])
    size = np.array([width, height]) + 2 * MARGIN_PX
    matrix = np.column_stack([np.eye(2) * scale, size / 2 - middle * scale])
    return warp(part, matrix, int(size[0]), int(size[1])).astype(np.float64), scale


def _thick(start: float, end: float) -> tuple[float, float]:
    """Widen a side that is too short, about its middle."""
    missing = max(THINNEST_PX - (end - start), 0.0)
    return start - missing / 2, end + missing / 2


def _computed(kind: str, picture: Any, region: Any, names: Sequence[str], bins: Bins) -> dict[str, float]:
    computer = _classes()[kind](picture, region, label=1, binCount=BINS, bins=bins)
    for name in names:
        computer.enableFeatureByName(name)
    return {name: float(value) for name, value in computer.execute().items()}


def _filtered(patch: npt.NDArray[np.float64], image: str) -> npt.NDArray[np.float64]:
    """Filter a patch, margin and all, and take the margin off."""
    import pywt  # noqa: PLC0415
    from SimpleITK import GetArrayFromImage  # noqa: PLC0415

    inner = (slice(MARGIN_PX, -MARGIN_PX),) * 2
    if image == "log":
        return np.asarray(GetArrayFromImage(_laplacian(_itk(patch), sigma=SIGMA_PX)))[inner]
    if image.startswith("wavelet-"):
        even = np.pad(patch, [(0, side % 2) for side in patch.shape], mode="edge")  # the transform halves it
        (bands,) = pywt.swtn(even, WAVELET, level=1)
        rows, columns = patch.shape
        return np.asarray(bands[_BANDS[image]])[:rows, :columns][inner]
    return patch[inner]


_BANDS = {"wavelet-LH": "da", "wavelet-HL": "ad"}  #: along x low and along y high; and the other way


def _ellipse(patch_shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Give the mask of the ellipse that touches the box inside a patch."""
    rows, columns = (side - 2 * MARGIN_PX for side in patch_shape)
    y, x = np.mgrid[:rows, :columns] + 0.5
    return np.asarray((2 * x / columns - 1) ** 2 + (2 * y / rows - 1) ** 2 <= 1, dtype=np.uint8)


def _laplacian(picture: Any, **settings: float) -> Any:
    from SimpleITK import LaplacianRecursiveGaussian  # noqa: PLC0415

    return LaplacianRecursiveGaussian(picture, **settings)  # type: ignore[no-untyped-call]


def _itk(numbers: npt.NDArray[Any], pixel: float = 1.0) -> Any:
    from SimpleITK import GetImageFromArray  # noqa: PLC0415

    image: Any = GetImageFromArray(numbers)
    image.SetSpacing((pixel, pixel))
    return image


@cache
def _classes() -> dict[str, Any]:
    """Give pyradiomics' feature classes, and make them keep their remarks to themselves."""
    from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm, shape2D  # noqa: PLC0415
    from SimpleITK import ProcessObject  # noqa: PLC0415

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    # To share 2,304 pixels out among threads takes longer than to filter them.
    ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # type: ignore[no-untyped-call]
    classes = {
        "shape2d": shape2D.RadiomicsShape2D,
        "firstorder": firstorder.RadiomicsFirstOrder,
        "glcm": glcm.RadiomicsGLCM,
        "glrlm": glrlm.RadiomicsGLRLM,
        "glszm": glszm.RadiomicsGLSZM,
        "gldm": gldm.RadiomicsGLDM,
        "ngtdm": ngtdm.RadiomicsNGTDM,
    }
    return {
        name: type(kind.__name__, (_OnceOnly, kind), {"__module__": kind.__module__}) for name, kind in classes.items()
    }
