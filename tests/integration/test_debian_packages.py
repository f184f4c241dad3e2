"""What the Makefile asks of the machine, and how it says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "debian-packages.sh"


def run(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(SCRIPT), *arguments]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False)


def test_a_bare_machine_is_told_every_package_that_the_installation_needs(tmp_path: Path) -> None:
    for name, does in {"python3.11": "exit 1", "id": "echo 1000"}.items():  # a bare Python, and nobody is root
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    outcome = run("build", "python3.11", path=str(tmp_path))
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines() == [
        "The installation needs these Debian packages: python3.11-venv python3.11-dev gcc libc6-dev",
        "Install them with: sudo apt-get install --no-install-recommends python3.11-venv python3.11-dev gcc libc6-dev",
    ]


def test_a_machine_that_has_them_is_left_alone() -> None:
    outcome = run("build", sys.executable, path="/usr/local/bin:/usr/bin:/bin")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
