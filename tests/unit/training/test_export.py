"""What export writes into a card: the hash, and nothing else of what a person wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.manifest import Manifest, sha256_of
from dicom_node.training.export import write_hash

MODEL = Path(__file__).parents[3] / "models" / "planes"


@pytest.mark.parametrize("remark", ["", " # what a person says of it"])
def test_new_weights_are_hashed_into_their_entry_and_the_rest_stays(tmp_path: Path, remark: str) -> None:
    folder = tmp_path / "planes"
    shutil.copytree(MODEL, folder)
    (network,) = Manifest.read(folder).networks
    card = folder / "manifest.yaml"
    before = card.read_text(encoding="utf-8").replace(f"  {network}:\n", f"  {network}:{remark}\n", 1)
    card.write_text(before, encoding="utf-8")
    old = sha256_of(Manifest.read(folder).weights_path(network))
    with Manifest.read(folder).weights_path(network).open("ab") as weights:
        weights.write(b"new")
    with pytest.raises(ModelError, match="its manifest says"):
        Manifest.read(folder).check_weights()
    write_hash(folder, network)
    new = sha256_of(Manifest.read(folder).weights_path(network))
    assert card.read_text(encoding="utf-8") == before.replace(old, new)
