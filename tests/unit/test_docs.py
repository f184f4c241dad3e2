"""What the documents promise as proof is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_proof_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(proofs) > 30
    missing = [
        f"{file}::{name}"
        for file, name in proofs
        if not re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_every_test_that_the_pages_on_faults_name_exists() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("faults*.md"))
    named = set(re.findall(r"`(?:tests/[\w/]+\.py::)?(test_\w+)`", pages))
    assert len(named) > 20
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    assert {name for name in named if f"def {name}(" not in sources} == set()
