"""A Swin Transformer that feeds YOLO11n's neck and head."""

from __future__ import annotations

from typing import Any

from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from dicom_node.tasks.structures.yolo11 import NECK, PYRAMID, build_yolo11, neck_and_head

STEM = 5  #: layers of YOLO11n that lead to an eighth of the resolution; the last of them is the first of PYRAMID
WIDTHS, DEPTHS, HEADS, WINDOW = (64, 128, 256), (2, 4, 2), (2, 4, 8), 7  #: of the stages
SIZE = (48, 64)  #: of the stem's map, for the masks that timm keeps; any other size gets its own


class SwinDetector(nn.Module):
    """Three stages of shifted windows (Liu et al., ICCV 2021; timm's) under YOLO11n's neck and head.

    The stages see not the picture but a convolutional stem's map of it, since early convolutions let transformers learn
    from little data (Xiao et al., NeurIPS 2021). They make the maps at 1/16 and 1/32 alone, and correct that at 1/8.
    """

    def __init__(self) -> None:
        super().__init__()
        yolo: Any = build_yolo11()
        channels = tuple(PYRAMID.values())
        self.stem: Any = yolo.model[:STEM]
        self.swin = SwinTransformer(
            img_size=SIZE,
            patch_size=1,
            in_chans=channels[0],
            num_classes=0,
            global_pool="",
            embed_dim=WIDTHS[0],
            depths=DEPTHS,
            num_heads=HEADS,
            window_size=WINDOW,
            strict_img_size=False,
            drop_path_rate=0.0,
        )
        self.swin.norm = nn.Identity()  # the classifier's, of which there is none
        self.laterals = nn.ModuleList(_lateral(width, count) for width, count in zip(WIDTHS, channels, strict=True))
        nn.init.zeros_(self.laterals[0].get_parameter("1.weight"))  # no correction at first
        for place in range(NECK):
            yolo.model[place] = nn.Identity()
        self.yolo = yolo

    def pyramid(self, pictures: Tensor) -> list[Tensor]:
        """Give the maps at 1/8, 1/16 and 1/32, with the channels of YOLO11n's own backbone."""
        seen = self.stem(pictures)
        stages = self.swin.forward_intermediates(seen, intermediates_only=True)
        eighth, *deeper = (lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True))
        return [seen + eighth, *deeper]

    def forward(self, pictures: Tensor) -> Any:
        """Give boxes and scores; while training, what ultralytics' loss asks for."""
        return neck_and_head(self.yolo, self.pyramid(pictures))


def _lateral(width: int, channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels))
