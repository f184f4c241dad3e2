from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.simulator.datasets import write_dataset


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of a few phantoms, laid out like the real one."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    write_dataset(folder, {"head_structures": 8, "head_circumference": 8, "planes": 8, "brain_anomalies": 24}, seed=3)
    return folder
