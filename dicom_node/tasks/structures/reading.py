"""What the boxes of a head say: is the plane standard, and is each structure normal, borderline or abnormal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dicom_node.inference.frozen import frozen
from dicom_node.inference.letterbox import grey_of
from dicom_node.inference.manifest import Manifest
from dicom_node.inference.weights import load_weights
from dicom_node.tasks.structures.categories import CategoriesNet, categories_net, pooled
from dicom_node.tasks.structures.deep import CropNet, crop_of, deep_features
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import Box, Grey, head_scale, radiomic_features

DEEP, CATEGORIES_NETWORK = "efficientnet_b4", "categories"


@dataclass(frozen=True, slots=True)
class Reading:
    """A head's probability of being a standard plane, and of every category (3,) for each structure found."""

    standard: float
    categories: Mapping[str, npt.NDArray[np.float64]]


class BoxReader:
    """Computes the selected features of boxes, and nothing else, and reads them."""

    def __init__(self, deep: CropNet, crop_px: int, net: CategoriesNet, device: str) -> None:
        self._deep = deep
        self._crop_px = crop_px
        self._net = net
        self._device = device
        self._radiomic_names = net.radiomic_names
        self._deep_indices = net.deep_indices

    @classmethod
    def load(cls, manifest: Manifest, device: str) -> BoxReader:
        """Load both networks of a model.

        :raises ModelError: their weights do not fit.
        """
        deep, net = CropNet(), categories_net(manifest.weights_path(CATEGORIES_NETWORK))
        load_weights(deep, manifest.weights_path(DEEP), device)
        load_weights(net, manifest.weights_path(CATEGORIES_NETWORK), device)
        crop_px = manifest.input_size(DEEP)[0]
        # Its features were selected, and learned from, as they are in single precision.
        exact = frozen(deep, device, in_halves=False, features=(1, crop_px, crop_px))
        return cls(exact, crop_px, net, device)

    def read(
        self, pictures: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[Mapping[str, Box]], mode: str = "fused"
    ) -> list[Reading | None]:
        """Read RGB pictures (rows, columns, 3) with their boxes; None where a picture has no box."""
        return self.modes(pictures, boxes, (mode,))[mode]

    def modes(
        self, pictures: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[Mapping[str, Box]], modes: Sequence[str]
    ) -> dict[str, list[Reading | None]]:
        """Read pictures in several ways (of ``categories.MODES``) from features that are computed once."""
        grey = [grey_of(picture) for picture in pictures]
        owners = [i for i, found in enumerate(boxes) for _ in found]
        names = [name for found in boxes for name in found]
        if not names:
            return {mode: [None] * len(pictures) for mode in modes}
        structures = torch.tensor([STRUCTURES.index(name) for name in names], device=self._device)
        features = torch.from_numpy(self._features(grey, boxes)).to(self._device)
        read: dict[str, list[Reading | None]] = {}
        with torch.inference_mode():
            seen = self._net.standardised(features, structures)
            for mode in modes:
                standard, category = self._net(seen, structures, mode)
                odds, chances = standard.double().cpu().numpy(), category.double().softmax(-1).cpu().numpy()
                read[mode] = [_reading(i, owners, names, odds, chances) for i in range(len(pictures))]
        return read

    def _features(self, grey: Sequence[Grey], boxes: Sequence[Mapping[str, Box]]) -> npt.NDArray[np.float64]:
        """Give the selected features (boxes, selected), radiomic ones first."""
        pairs = [(picture, box, head_scale(found)) for picture, found in zip(grey, boxes, strict=True) if found
                 for box in found.values()]  # fmt: skip
        with ThreadPoolExecutor(1) as aside:  # the network needs Python hardly ever, pyradiomics all the time
            deep = aside.submit(self._deep_features, pairs)
            radiomic = np.stack([radiomic_features(p, box, self._radiomic_names, scale) for p, box, scale in pairs])
            return np.concatenate([radiomic, deep.result()], axis=1, dtype=np.float64)

    def _deep_features(self, pairs: Sequence[tuple[Grey, Box, float]]) -> npt.NDArray[np.float32]:
        """Give the selected deep features; where none was selected, no column."""
        if not self._deep_indices:
            return np.zeros((len(pairs), 0), dtype=np.float32)
        crops = [crop_of(picture, box, self._crop_px) for picture, box, _ in pairs]
        return deep_features(self._deep, crops, self._device)[:, self._deep_indices]


def _reading(
    picture: int,
    owners: Sequence[int],
    names: Sequence[str],
    odds: npt.NDArray[np.float64],
    chances: npt.NDArray[np.float64],
) -> Reading | None:
    """Gather what belongs to one picture."""
    own = [row for row, owner in enumerate(owners) if owner == picture]
    if not own:
        return None
    return Reading(pooled({names[row]: float(odds[row]) for row in own}), {names[row]: chances[row] for row in own})
