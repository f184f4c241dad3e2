"""The anomalies network: ResNet34 (He et al., CVPR 2016, by torchvision) on one grey channel."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import resnet34

ANOMALIES = ("normal", "anencephaly", "encephalocele", "holoprosencephaly", "rachischisis")
CHANNELS = 256  #: of the third layer's features
PLACE = 16  #: pixels of the input per place of the third layer's features


class AnomaliesNet(nn.Module):
    """Grey pictures (batch, 1, height, width) to logits of the classes (batch, 5).

    The third layer has a head of its own, which says of each place what lies there. It is a help in training, where the
    places of simulated lesions are known, and is not asked otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        whole = resnet34(num_classes=len(ANOMALIES))
        grey = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(grey.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(grey, whole.bn1, whole.relu, whole.maxpool)
        self.layers = nn.Sequential(whole.layer1, whole.layer2, whole.layer3, whole.layer4)
        self.places = nn.Conv2d(CHANNELS, len(ANOMALIES), kernel_size=1)
        self.head = nn.Sequential(whole.avgpool, nn.Flatten(), whole.fc)

    def features(self, grey: Tensor) -> Tensor:
        """Give what the third layer sees (batch, 256, height / 16, width / 16)."""
        seen: Tensor = self.layers[:3](self.stem(grey))
        return seen

    def named(self, features: Tensor) -> Tensor:
        """Give the logits of features."""
        logits: Tensor = self.head(self.layers[3](features))
        return logits

    def with_places(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits of pictures (batch, 5) and of their places (batch, 5, height / 16, width / 16)."""
        features = self.features(grey)
        return self.named(features), self.places(features)

    def forward(self, grey: Tensor) -> Tensor:
        """See the class."""
        return self.named(self.features(grey))
