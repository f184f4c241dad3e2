from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.simulator.datasets import SETS


def test_simulate_writes_every_set_and_changes_heads_of_a_data_folder(tmp_path: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(app, ["simulate", "--dataset", str(tmp_path / "sets"), "--count", "2", "--seed", "4"])
    assert first.exit_code == 0, first.output
    for simulated in SETS.values():
        for table in simulated.tables:
            assert (tmp_path / "sets" / table).is_file()
    more = ["--count", "1", "--data", str(tmp_path / "sets")]
    second = runner.invoke(app, ["simulate", "--dataset", str(tmp_path / "more"), *more])
    assert second.exit_code == 0, second.output
    assert (tmp_path / "more/changed/head_structures/categories.csv").is_file()


def test_data_without_dataset_is_refused(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["simulate", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert answer.exit_code != 0
    assert not (tmp_path / "out").exists()
