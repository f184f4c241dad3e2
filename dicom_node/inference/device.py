"""Which processor the networks run on."""

from __future__ import annotations

from functools import cache

from dicom_node.errors import ModelError


def choose_device(wanted: str = "auto") -> str:
    """Give the torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    :raises ModelError: a GPU was asked for by name and there is none.
    """
    import torch  # noqa: PLC0415 - the receiver and the pages start without it

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"analysis.device is {wanted!r}, but this machine has no usable GPU")
    return wanted


MOST_SIDE_BY_SIDE = 4  #: batches: each holds its pictures, and pyradiomics runs in one thread of Python at a time
GPU_SIDE_BY_SIDE = 2  #: one is decoded and read while the other is on the GPU


def share_out_threads(device: str) -> int:
    """Say how many batches are looked at side by side; on a processor they share its threads out among them.

    Small networks gain more from two batches in a thread each than from two threads for each layer of one batch.
    """
    import torch  # noqa: PLC0415

    if device != "cpu":
        return GPU_SIDE_BY_SIDE
    looks = min(_threads(), MOST_SIDE_BY_SIDE)
    torch.set_num_threads(_threads() // looks)
    return looks


@cache
def _threads() -> int:
    """Give how many threads torch found for itself (OMP_NUM_THREADS has a say), before anybody changed that."""
    import torch  # noqa: PLC0415

    return torch.get_num_threads()
