"""Networks as they run in the node: their graph recorded once, and all that is constant in it computed beforehand.

Batch normalisation disappears into the convolutions before it, and nothing is asked of Python between layers
(TorchScript, ``torch.jit.freeze``). Where the processor has instructions for bfloat16 (Intel AMX, AVX-512 BF16),
convolutions and linear layers use them: about twice as fast. The numbers differ from those of the network itself by
rounding only.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn


def frozen(net: nn.Module, device: str, *, in_halves: bool = True, **shapes: tuple[int, int, int]) -> Any:
    """Give a network in eval mode frozen, with the methods named in ``shapes`` and no others.

    What it says may be bfloat16: whoever asks makes it float before reckoning on.

    :param in_halves: whether rounding does no harm to what is made of the answers.
    :param shapes: of one input (channels, height, width) of each method. Any number of them may come at once.
    """
    examples = {
        method: torch.zeros(2, *shape, device=device).contiguous(memory_format=torch.channels_last)
        for method, shape in shapes.items()
    }
    halves = in_halves and multiplies_halves(device)
    rounding = torch.autocast("cpu", torch.bfloat16, enabled=halves, cache_enabled=False)
    with warnings.catch_warnings(), torch.no_grad(), rounding:
        warnings.simplefilter("ignore")  # tracing remarks on the sizes that it takes as given
        traced = torch.jit.trace_module(net, examples, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.freeze(traced, preserved_attrs=list(shapes))


def multiplies_halves(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16; without them half precision on a processor is slower."""
    able = torch.cpu.get_capabilities()
    return device == "cpu" and any(able.get(name) for name in ("amx_bf16", "avx512_bf16"))
