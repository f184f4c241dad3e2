"""The README's own commands, as a reader types them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from running import environment

from dicom_node.config import load_config

ROOT = Path(__file__).parents[2]


def test_the_commands_that_point_a_scanner_and_a_pacs_at_the_node(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((ROOT / "config.yaml").read_bytes())
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "dicom-node"  # of this environment, wherever it lies
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dicom_node "$@"\n')
    program.chmod(0o755)
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Point a scanner and a PACS at it")[1]
    blocks = re.findall(r"```sh\n(.*?)```", section.split("\n## ")[0], flags=re.DOTALL)
    # Nobody is at the address of the example, so the last question is not put to it.
    lines = [line for block in blocks for line in block.splitlines() if "preflight" not in line]
    outcome = subprocess.run(
        ["/bin/bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    config = load_config(tmp_path / "node.yaml")
    assert [(scanner.ae_title, scanner.host) for scanner in config.scanners] == [("VOLUSON1", "10.0.0.7")]
    assert [(d.name, d.ae_title, d.host) for d in config.destinations] == [("main-pacs", "MAINPACS", "10.0.0.9")]
