"""Numbers from safetensors files into networks: no pickle, nothing left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.errors import ModelError

if TYPE_CHECKING:
    import torch


def load_weights(net: torch.nn.Module, path: Path, device: str) -> torch.nn.Module:
    """Fill a network with the weights of a file, bring it to the device and ready it for inference.

    :raises ModelError: the file is not a safetensors file, or was made for another network.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - torch comes with it
    from safetensors.torch import load_file  # noqa: PLC0415
    from torch import channels_last  # noqa: PLC0415

    try:
        numbers = load_file(path)
        net.load_state_dict(numbers)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{path} does not fit its network: {error}") from error
    # Channels last is twice as fast for light convolutions on a CPU, and no slower elsewhere.
    placed: torch.nn.Module = net.to(device).to(memory_format=channels_last)  # type: ignore[call-overload]
    return placed.eval().requires_grad_(requires_grad=False)


def save_weights(numbers: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a network's numbers, the single ones in half precision where all of a tensor fit into it (up to 65504).

    The file is written whole or not at all, and can be read by whoever may read the folder.
    """
    from safetensors.torch import save_file  # noqa: PLC0415

    partial = path.with_name(f"{path.name}.partial")
    save_file({key: _halved(value.detach()).cpu().contiguous() for key, value in numbers.items()}, partial)
    partial.chmod(0o644)  # the library's own files are for their owner alone, who need not be the node
    partial.replace(path)


def _halved(value: torch.Tensor) -> torch.Tensor:
    from torch import float32  # noqa: PLC0415

    if value.dtype != float32:
        return value
    half = value.half()
    return half if half.isfinite().all() else value
