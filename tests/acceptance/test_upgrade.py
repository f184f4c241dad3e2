"""What an earlier release began is finished by this one, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from conftest import wait_until
from fake_pacs import FakePacs
from running import Node, done, new_study, phantom_studies, push
from sqlalchemy import create_engine, text

from dicom_node.engine.queue import JobQueue
from dicom_node.store.database import MIGRATIONS

pytestmark = pytest.mark.slow

EARLIER = "0002"


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    with FakePacs() as pacs:
        yield pacs


def as_an_earlier_release_left_it(url: str) -> None:
    """Take the schema back; the engine's rows stay as they are."""
    scripts = Config()
    scripts.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(url)
    with engine.begin() as connection:
        scripts.attributes["connection"] = connection
        command.downgrade(scripts, EARLIER)
    engine.dispose()


def versions_of_the_jobs(url: str) -> set[str]:
    engine = create_engine(url)
    schema = "" if url.startswith("sqlite") else "dbos."
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT DISTINCT application_version FROM {schema}workflow_status"))
        versions = {str(row[0]) for row in found}
    engine.dispose()
    return versions


def test_a_study_that_waits_over_an_upgrade_is_answered(tmp_path: Path, pacs: FakePacs, database_url: str) -> None:
    url = None if database_url.startswith("sqlite") else database_url
    to = {"name": "pacs", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port}
    phantoms = phantom_studies(tmp_path / "phantoms")
    with Node(tmp_path / "node", [to], quiet_seconds=10, database_url=url) as node:
        pacs.reports_to = ("127.0.0.1", node.port)
        uid, files = new_study(phantoms[0], tmp_path / "study", "upgrade")
        push(node.port, files)
        queue = JobQueue(node.url)
        wait_until(lambda: any(uid in key for key in queue.live_keys()), 30, "the job that will close the study")
        queue.close()
        node.kill_everything()
        # Jobs bear a version that never changes: the engine gives those of another version to nobody.
        assert versions_of_the_jobs(node.url) == {"1"}
        as_an_earlier_release_left_it(node.url)
        assert "up to date" in done("db", "upgrade", "--config", node.config)
        node.start()
        study = node.wait_for(uid)
        assert (study["state"], study["instances"]) == ("committed", len(files))
