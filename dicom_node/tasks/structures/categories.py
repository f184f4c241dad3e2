"""From selected features to categories: a TabTransformer over one structure's box.

Every feature is a token (its value times a learned vector, plus one; Gorishniy et al., NeurIPS 2021), and so is the
structure (an embedding; Huang et al., TabTransformer, 2020). The structure's token, after attention to the features,
says how likely the frame is a standard plane, and whether the structure is normal, borderline or abnormal. The same net
exists three times: on radiomic features, on deep ones, and on both; the first two are there to be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.errors import ModelError
from dicom_node.tasks.structures.deep import DEEP_FEATURES
from dicom_node.tasks.structures.net import STRUCTURES
from dicom_node.tasks.structures.radiomics import RADIOMIC_NAMES

CATEGORIES = ("normal", "borderline", "abnormal")
MODES = ("fused", "radiomic_only", "deep_only")
WIDTH, LAYERS, HEADS, DROPOUT = 32, 2, 4, 0.2
OUTLIER = 5.0  #: standardised features are cut here, as they are in selection
FEATURES = len(RADIOMIC_NAMES) + DEEP_FEATURES  #: in this order: radiomic ones, then deep ones


class TabTransformer(nn.Module):
    """Features (n, k) of boxes and their structures (n,) to standard-plane logits (n,) and category logits (n, 3)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.structure = nn.Embedding(len(STRUCTURES), WIDTH)
        self.weight = nn.Parameter(torch.randn(features, WIDTH) * 0.3)
        self.bias = nn.Parameter(torch.randn(features, WIDTH) * 0.1)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, DROPOUT, activation="gelu", batch_first=True, norm_first=True
        )
        layer.self_attn.dropout = (
            0.0  # it costs as much as the rest of the net, and noise on the features does its work
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.standard = nn.Linear(WIDTH, 1)
        self.category = nn.Linear(WIDTH, len(CATEGORIES))

    def forward(self, features: Tensor, structures: Tensor) -> tuple[Tensor, Tensor]:
        """Give both heads' logits."""
        tokens = features[:, :, None] * self.weight + self.bias
        said = self.encoder(torch.cat([self.structure(structures)[:, None], tokens], dim=1))[:, 0]
        return self.standard(said)[:, 0], self.category(said)


class CategoriesNet(nn.Module):
    """The three TabTransformers, with what was selected and how it is standardised.

    ``selected`` (2007,) marks the features, radiomic ones first; ``mean`` and ``scale`` (9, selected) are those of each
    structure, in double precision because radiomic features span many orders of magnitude.
    """

    selected: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, selected: Tensor) -> None:
        super().__init__()
        count = int(selected.sum())
        self.register_buffer("selected", selected.bool())
        self.register_buffer("mean", torch.zeros(len(STRUCTURES), count, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(STRUCTURES), count, dtype=torch.float64))
        radiomic = int(selected[: len(RADIOMIC_NAMES)].sum())
        self.columns = {"fused": slice(None), "radiomic_only": slice(radiomic), "deep_only": slice(radiomic, None)}
        sizes = {"fused": count, "radiomic_only": radiomic, "deep_only": count - radiomic}
        self.modes = nn.ModuleDict({mode: TabTransformer(sizes[mode]) for mode in MODES})

    @property
    def radiomic_names(self) -> tuple[str, ...]:
        """The selected radiomic features, in order."""
        return tuple(name for name, used in zip(RADIOMIC_NAMES, self.selected.tolist(), strict=False) if used)

    @property
    def deep_indices(self) -> list[int]:
        """Which of the 1,792 deep features are selected, in order."""
        return list(np.flatnonzero(self.selected[len(RADIOMIC_NAMES) :].cpu().numpy()))

    def standardised(self, features: Tensor, structures: Tensor) -> Tensor:
        """Bring selected features (n, selected; double) of boxes of ``structures`` (n,) to what the nets see."""
        centred = (features - self.mean[structures]) / self.scale[structures]
        return centred.clamp(-OUTLIER, OUTLIER).float()

    def forward(self, features: Tensor, structures: Tensor, mode: str = "fused") -> tuple[Tensor, Tensor]:
        """Give standard-plane logits (n,) and category logits (n, 3) of standardised features (n, selected)."""
        standard, category = self.modes[mode](features[:, self.columns[mode]], structures)
        return standard, category


def categories_net(path: Path) -> CategoriesNet:
    """Make the network whose numbers lie in a file: how many features it takes is said there. It is not filled yet.

    :raises ModelError: the file is not one of this network.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - torch comes with it

    try:
        with safe_open(path, framework="pt") as file:
            selected: Tensor = file.get_tensor("selected")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} does not fit its network: {error}") from error
    if selected.shape != (FEATURES,):
        raise ModelError(f"{path} selects of {tuple(selected.shape)} features, not of {FEATURES}")
    return CategoriesNet(selected)


def pooled(standard: Mapping[str, float]) -> float:
    """Give a frame's probability of being a standard plane from the logits of its boxes: that of their mean."""
    return float(1.0 / (1.0 + np.exp(-np.mean(list(standard.values())))))
