"""The command line as a whole: every command explains itself, is in the README, and starts light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer.main
from running import cli, environment
from typer.testing import CliRunner

from dicom_node.cli import app

README = Path(__file__).parents[2] / "README.md"


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """List every command with the words that lead to it."""
    inner = getattr(group, "commands", {})
    return [name for word, command in inner.items() for name in commands(command, (*path, word))] or [path]


COMMANDS = commands(typer.main.get_command(app))


def test_the_commands_of_the_architecture_are_there() -> None:
    words = {" ".join(command) for command in COMMANDS}
    assert words >= {
        *("serve", "demo", "analyse", "simulate", "send", "preflight", "train", "evaluate"),
        *("study list", "study show", "study retry", "study cancel", "delivery list", "delivery retry"),
        *("ae list", "ae add", "ae remove", "ae echo", "config check", "db upgrade"),
    }


def test_help_of_the_whole_names_every_command() -> None:
    outcome = cli("--help")
    assert outcome.returncode == 0
    for first in {command[0] for command in COMMANDS}:
        assert first in outcome.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    outcome = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0, outcome.output
    found = typer.main.get_command(app)
    for word in command:
        found = found.commands[word]  # type: ignore[attr-defined]
    assert found.help
    for parameter in found.params:
        explanation = getattr(parameter, "help", None)
        assert explanation, f"{parameter.name} has no explanation"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_readme_names_every_command(command: tuple[str, ...]) -> None:
    *group, word = command
    # A group's commands may stand together: `study list|show`, with the bar escaped inside a table.
    named = re.compile(r"dicom-node " + "".join(f"{name} " for name in group) + rf"(?:\w+\\?\|)*{word}\b")
    assert named.search(README.read_text(encoding="utf-8"))


HEAVY = ("torch", "torchvision", "ultralytics", "segmentation_models_pytorch", "radiomics", "SimpleITK")

START_UPS = {
    "command line": "import dicom_node.cli",
    "receiver": "import dicom_node.bootstrap, dicom_node.results.loop_guard, dicom_node.pipeline.intake",
    "web": "import dicom_node.bootstrap, dicom_node.web.app, dicom_node.web.server",
    "io": "import dicom_node.bootstrap, dicom_node.pipeline.delivery, dicom_node.pipeline.retention",
}


@pytest.mark.parametrize("statement", START_UPS.values(), ids=START_UPS.keys())
def test_start_up_brings_no_heavy_library(statement: str) -> None:
    code = f"{statement}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    outcome = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.stdout == "[]\n", outcome.stdout + outcome.stderr


def test_wrong_usage_ends_with_2() -> None:
    assert cli("study", "lost").returncode == 2
