"""Which processor the networks run on."""

from __future__ import annotations

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
