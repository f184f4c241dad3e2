"""A frozen network says what the network itself says, of any number of pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dicom_node.inference import frozen as module
from dicom_node.inference.frozen import frozen, multiplies_halves


class TwoParts(nn.Module):
    """Has two methods that are asked, and batch normalisation that has seen other pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU())
        self.named = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))

    def features(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.seen(pictures)
        return features

    def classes(self, features: Tensor) -> Tensor:
        classes: Tensor = self.named(features)
        return classes


@pytest.fixture
def net() -> TwoParts:
    torch.manual_seed(3)
    net = TwoParts()
    for _ in range(3):
        net.features(torch.rand(4, 1, 8, 10) + 2)
    return net.eval()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_says_the_same(net: TwoParts, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "multiplies_halves", lambda _device: False)
    fast = frozen(net, "cpu", features=(1, 8, 10), classes=(4, 8, 10))
    pictures = torch.rand(count, 1, 8, 10)
    with torch.inference_mode():
        features = net.features(pictures)
        torch.testing.assert_close(fast.features(pictures), features)
        torch.testing.assert_close(fast.classes(features), net.classes(features))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_in_halves_it_says_the_same_but_for_rounding(
    net: TwoParts, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "multiplies_halves", lambda _device: True)
    fast = frozen(net, "cpu", features=(1, 8, 10), classes=(4, 8, 10))
    pictures = torch.rand(count, 1, 8, 10)
    with torch.inference_mode():
        features = net.features(pictures)
        seen = fast.features(pictures)
        assert seen.dtype == torch.bfloat16
        torch.testing.assert_close(seen.float(), features, rtol=0.02, atol=0.02)
        torch.testing.assert_close(fast.classes(seen).float(), net.classes(features), rtol=0.02, atol=0.02)


def test_a_network_whose_answers_must_not_be_rounded_is_not(net: TwoParts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "multiplies_halves", lambda _device: True)
    fast = frozen(net, "cpu", in_halves=False, features=(1, 8, 10))
    pictures = torch.rand(2, 1, 8, 10)
    with torch.inference_mode():
        torch.testing.assert_close(fast.features(pictures), net.features(pictures))


def test_halves_are_for_processors_that_multiply_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"avx512_f": True, able: True})
        assert multiplies_halves("cpu")
        assert not multiplies_halves("cuda:0")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    assert not multiplies_halves("cpu")


@pytest.mark.parametrize("in_halves", [False, True])
def test_the_normalisation_is_folded_away_and_the_network_stays_as_it_was(
    net: TwoParts, monkeypatch: pytest.MonkeyPatch, *, in_halves: bool
) -> None:
    monkeypatch.setattr(module, "multiplies_halves", lambda _device: in_halves)
    fast = frozen(net, "cpu", features=(1, 8, 10))
    assert "batch_norm" not in str(fast.features.graph)
    assert isinstance(net.seen[1], nn.BatchNorm2d)
