"""The pages over a real database: what an admin reads there, and what a hostile peer cannot put there."""

import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from dicom_node.audit.acts import Audit, this_process
from dicom_node.audit.message import Message
from dicom_node.config import Config, parse_config
from dicom_node.errors import ConfigError
from dicom_node.store.database import Database
from dicom_node.store.tables import (
    AnalysisRow,
    AssociationRow,
    CommitmentRow,
    DeliveryRow,
    GenerationRow,
    InstanceRow,
    ResultRow,
    StudyRow,
)
from dicom_node.web.app import make_app
from dicom_node.web.looks import Looks
from dicom_node.web.server import serve

NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
FINDINGS_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
COMMITTED, FAILED, RECEIVING = "2.25.1001", "2.25.1002", "2.25.1003"

CONFIG = """
node: {ae_title: DICOM_NODE, institution: "St Mary's"}
database: {url: "postgresql+psycopg://node:hunter2@db/node?sslpassword=hunter2"}
scanners:
  - {ae_title: VOLUSON1, quiet_seconds: 10, cap_seconds: 900}
destinations:
  - {name: main-pacs, ae_title: ORTHANC, host: 127.0.0.1, port: 4242}
  - {name: ward, ae_title: WARD, host: 10.0.0.9, port: 104, commitment: false}
"""


class Node:
    """The parts around the pages, with a problem and a time that a test may set."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'node.sqlite'}")
        self.config: Config = parse_config(CONFIG, folder / "config.yaml")
        self.problem: str | None = None
        self.audited: list[Message] = []
        audit = Audit(this_process("DICOM_NODE", "web-0"), self.audited.append)
        app = make_app(self.database, lambda: self.config, lambda: self.problem, audit, lambda: NOW)
        self.app = app
        self.client = TestClient(app, base_url="http://127.0.0.1:8080", raise_server_exceptions=True)

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def words(self, path: str, status: int = 200) -> str:
        """Give the text that a reader sees in the middle of a page, spaces made one."""
        main = self.page(path, status).split("<main>")[1].split("</main>")[0]
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", main))


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one database; each test gets a copy."""
    file = tmp_path_factory.mktemp("migrated") / "node.sqlite"
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    database.close()
    return file


@pytest.fixture
def node(tmp_path: Path, migrated: Path) -> Iterator[Node]:
    shutil.copy(migrated, tmp_path / "node.sqlite")
    node = Node(tmp_path)
    yield node
    node.database.close()


@pytest.fixture
def busy(node: Node) -> Node:
    fill(node.database)
    return node


def ago(**distance: float) -> datetime:
    return NOW - timedelta(**distance)


def context(number: int, abstract_syntax: str, syntaxes: list[str], reason: str | None = None) -> dict[str, object]:
    return {
        "id": number,
        "abstract_syntax": abstract_syntax,
        "transfer_syntaxes": syntaxes,
        "accepted": reason is None,
        "transfer_syntax": syntaxes[0] if reason is None else None,
        "reason": reason,
    }


def association(calling: str, outcome: str, started_at: datetime, **values: object) -> AssociationRow:
    given: dict[str, object] = {
        "receiver": "receiver-0",
        "called_ae_title": "DICOM_NODE",
        "host": "192.168.7.21",
        "ended_at": None if outcome == "open" else started_at + timedelta(seconds=8),
        "contexts": [],
        "instances_accepted": 0,
        "instances_refused": 0,
    }
    return AssociationRow(calling_ae_title=calling, outcome=outcome, started_at=started_at, **{**given, **values})


def study(uid: str, state: str, created_at: datetime, version: int = 0, error: str | None = None) -> list[object]:
    closed = state != "receiving"
    return [
        StudyRow(
            study_instance_uid=uid, scanner_ae_title="VOLUSON1", generation=1, version=version, created_at=created_at
        ),
        GenerationRow(
            study_instance_uid=uid,
            number=1,
            state=state,
            opened_at=created_at,
            last_received_at=created_at + timedelta(seconds=20),
            closed_at=created_at + timedelta(seconds=31) if closed else None,
            close_reason="10 s of silence" if closed else None,
            error=error,
        ),
    ]


def instance(uid: str, study_uid: str | None, state: str = "stored", reason: str | None = None) -> InstanceRow:
    return InstanceRow(
        sop_instance_uid=uid,
        sop_class_uid=US_MULTI_FRAME,
        study_instance_uid=study_uid,
        series_instance_uid="2.25.5",
        generation=1,
        transfer_syntax_uid=JPEG_BASELINE,
        sha256=f"{state}-{uid}",
        size_bytes=480_000,
        path=f"spool/{uid}",
        state=state,
        reason=reason,
        received_at=ago(minutes=3),
    )


def result(number: int, study_uid: str, kind: str, state: str = "ready", reason: str | None = None) -> ResultRow:
    return ResultRow(
        id=number,
        study_instance_uid=study_uid,
        version=1,
        kind=kind,
        sop_class_uid=FINDINGS_CLASS,
        sop_instance_uid=f"2.25.77{number}",
        series_instance_uid="2.25.6",
        sha256="0",
        path=f"results/{number}",
        state=state,
        reason=reason,
        created_at=ago(minutes=2),
    )


def delivery(of: ResultRow, destination: str, state: str, **values: object) -> DeliveryRow:
    sent = state in ("sent", "committed")
    given: dict[str, object] = {
        "commitment": destination == "main-pacs",
        "attempts": 1,
        "next_attempt_at": ago(minutes=1),
        "status": 0 if sent else None,
        "sent_at": ago(minutes=1) if sent else None,
        "committed_at": ago(seconds=40) if state == "committed" else None,
    }
    return DeliveryRow(
        result_id=of.id,
        study_instance_uid=of.study_instance_uid,
        version=of.version,
        destination=destination,
        state=state,
        **{**given, **values},
    )


def fill(database: Database) -> None:
    """A busy morning: one study committed, one with a dead letter, one coming in; a stranger and a CT at the door."""
    with database.write() as session:
        for created, uid, state, version in (
            (ago(minutes=5), COMMITTED, "analysed", 1),
            (ago(minutes=4), FAILED, "analysed", 1),
            (ago(seconds=30), RECEIVING, "receiving", 0),
        ):
            for row in study(uid, state, created, version):
                session.add(row)
                session.flush()
        session.add_all(
            [
                instance("2.25.11", COMMITTED),
                instance("2.25.12", COMMITTED, "quarantined", "the data set ends in the middle of (0010,0010)"),
                instance("2.25.11", COMMITTED, "conflict", "2.25.11 is known with other bytes"),
                instance("2.25.21", FAILED),
                instance("2.25.31", RECEIVING),
                instance("2.25.41", None, "quarantined", "no Study Instance UID"),
            ]
        )
        said = {"task": "biometry", "instance": "2.25.11", "frame": 3}
        session.add(
            AnalysisRow(
                study_instance_uid=COMMITTED,
                version=1,
                generation=1,
                started_at=ago(minutes=3),
                finished_at=ago(minutes=3) + timedelta(seconds=4.2),
                models={"biometry": {"version": "1.0.0", "weights_sha256": "0"}},
                summary=[
                    {**said, "name": "Head Circumference", "value": 182.4, "unit": "mm", "note": None},
                    {**said, "name": "Femur Length", "value": "not assessable", "unit": None, "note": "no femur"},
                    {**said, "name": "not analysed", "value": None, "unit": None, "note": "frame 9 cannot be decoded"},
                ],
            )
        )
        results = [
            result(1, COMMITTED, "findings_sr"),
            result(2, FAILED, "biometry_sr", "quarantined", "Content Date is missing"),
            result(3, FAILED, "findings_sr"),
            result(4, FAILED, "secondary_capture"),
        ]
        session.add_all(results)
        session.flush()
        refused = {"status": 0xA700, "error": "out of disk & <i>memory</i>", "attempts": 8}
        session.add_all(
            [
                delivery(results[0], "main-pacs", "committed"),
                delivery(results[0], "ward", "sent"),
                delivery(results[2], "main-pacs", "failed", **refused),
                delivery(results[3], "main-pacs", "pending", attempts=2, next_attempt_at=NOW + timedelta(seconds=90)),
                delivery(results[3], "old-pacs", "sent"),
            ]
        )
        session.add(
            CommitmentRow(
                transaction_uid="2.25.900",
                study_instance_uid=COMMITTED,
                version=1,
                destination="main-pacs",
                attempt=1,
                state="confirmed",
                requested_at=ago(seconds=55),
                due_at=NOW,
                answered_at=ago(seconds=40),
            )
        )
        unknown = "the calling AE title is unknown: add it under scanners in config.yaml to let it send"
        not_ours = "CT Image Storage is not an ultrasound class: exclude it from what the scanner sends to this node"
        session.add_all(
            [
                association("VOLUSON1", "open", ago(seconds=30)),
                association(
                    "VOLUSON1",
                    "released",
                    ago(minutes=5),
                    instances_accepted=3,
                    contexts=[
                        context(1, US_MULTI_FRAME, [JPEG_BASELINE]),
                        context(3, US_IMAGE, ["1.2.3"], "no common transfer syntax"),
                        context(5, US_IMAGE, [EXPLICIT_LITTLE]),
                        context(7, CT_IMAGE, [EXPLICIT_LITTLE], not_ours),
                    ],
                ),
                association("<b>X", "rejected", ago(minutes=7), host="10.9.8.7", reason=unknown),
                association("<b>X", "rejected", ago(minutes=8), host="10.9.8.7", reason=unknown),
            ]
        )


def test_studies_are_listed_newest_first_with_their_word(busy: Node) -> None:
    page = busy.page("/")
    assert page.index(RECEIVING) < page.index(FAILED) < page.index(COMMITTED)
    rows = [re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", row)) for row in page.split("<tbody>")[1].split("</tr>")[:3]]
    assert rows[0].split()[0] == "receiving"
    assert rows[1].split()[0] == "failed"
    assert rows[2].split()[0] == "committed"
    assert "1 conflict" in rows[2]
    assert "1 quarantined" in rows[2]
    assert "main-pacs 1 committed" in rows[2]
    assert "ward 1 sent" in rows[2]
    assert "5 min ago" in rows[2]


def test_studies_come_fifty_to_a_page(node: Node) -> None:
    with node.database.write() as session:
        for number in range(120):
            for row in study(f"2.25.{number}", "closed", ago(minutes=number)):
                session.add(row)
                session.flush()

    def shown(path: str) -> list[int]:
        return [int(number) for number in re.findall(r'/studies/2\.25\.(\d+)"', node.page(path))]

    assert shown("/") == list(range(50))
    assert shown("/?older=2.25.49") == list(range(50, 100))
    assert shown("/?older=2.25.99") == list(range(100, 120))
    assert shown("/?newer=2.25.100") == list(range(50, 100))
    assert shown("/?newer=2.25.50") == list(range(50))
    assert shown("/?oldest") == list(range(70, 120))
    assert shown("/?older=<script>") == shown("/?newer=1.2.3") == shown("/?older=%00") == list(range(50))
    assert shown("/?older=2.25.119") == list(range(70, 120))
    assert shown("/?newer=2.25.0") == list(range(50))
    first, middle, last = node.page("/"), node.page("/?older=2.25.49"), node.page("/?oldest")
    assert ('href="/?older=2.25.49"' in first, "newer" in first) == (True, False)
    assert 'href="/?older=2.25.99"' in middle
    assert 'href="/?newer=2.25.50"' in middle
    assert ('href="/?newer=2.25.70"' in last, "older" in last) == (True, False)


def test_an_empty_node_says_what_to_do_next(node: Node) -> None:
    assert "No study has arrived yet" in node.words("/")
    assert "Point the scanner at AE title DICOM_NODE" in node.words("/associations")
    assert "Dead letters 0" in node.words("/deliveries")


def test_a_study_shows_findings_instances_and_results(busy: Node) -> None:
    text = busy.words(f"/studies/{COMMITTED}")
    assert "Head Circumference 182.4 mm" in text
    assert "Femur Length not assessable no femur" in text
    assert "Not analysed, and why" in text
    assert "frame 9 cannot be decoded" in text
    assert "the data set ends in the middle of (0010,0010)" in text
    assert "2.25.11 is known with other bytes" in text
    assert "main-pacs confirmed" in text
    assert "Ultrasound Multi-frame Image Storage JPEG Baseline" in text
    assert f"dicom-node study retry {COMMITTED}" in text


def test_a_failed_delivery_shows_its_status_and_the_way_out(busy: Node) -> None:
    for path in (f"/studies/{FAILED}", "/deliveries"):
        text = busy.words(path)
        assert "0xA700 out of resources" in text
        assert "out of disk &amp; &lt;i&gt;memory&lt;/i&gt;" in text
        assert "dicom-node delivery retry 3" in text
        assert "dicom-node delivery retry 4" in text  # it waits, and may be sent now
        assert "in 1 min" in text


def test_an_object_that_was_held_back_says_why(busy: Node) -> None:
    assert "Content Date is missing" in busy.words(f"/studies/{FAILED}")


def test_an_unknown_study_is_a_404_page(busy: Node) -> None:
    assert "No study 2.25.404 is on record here." in busy.words("/studies/2.25.404", 404)
    assert "Not found" in busy.words("/nowhere", 404)


def test_the_doctor_names_the_stranger_and_the_command_that_adds_it(busy: Node) -> None:
    text = busy.words("/associations")
    assert "&lt;b&gt;X 10.9.8.7 2026-03-02 11:53:00 7 min ago 2 dicom-node ae add &#39;&lt;b&gt;X&#39;" in text


def test_the_doctor_forgets_a_stranger_once_it_is_configured(busy: Node) -> None:
    busy.config = parse_config(CONFIG.replace("VOLUSON1", "<b>X"), Path("config.yaml"))
    assert "ae add" not in busy.words("/associations")


def test_the_doctor_explains_refused_classes_but_not_refused_spares(busy: Node) -> None:
    notice, log = busy.words("/associations").split("Association log")
    assert (
        "VOLUSON1 5 min ago CT Image Storage Explicit VR Little Endian 1 CT Image Storage is not an ultrasound"
        in notice
    )
    assert "no common transfer syntax" not in notice
    assert "4 contexts, 2 refused" in log
    assert "refused, no common transfer syntax" in log


def test_lanes_show_every_destination_also_one_that_is_gone(busy: Node) -> None:
    text = busy.words("/deliveries")
    assert "main-pacs ORTHANC@127.0.0.1:4242 1 pending 0 1 committed 1 failed 0" in text
    assert "ward WARD@10.0.0.9:104 commitment is not asked for 0 1 sent 0 0" in text
    assert "old-pacs no longer configured 0 1 sent 0 0" in text


def test_instances_without_a_study_are_not_out_of_sight(busy: Node) -> None:
    assert "No Study Instance UID".lower() in busy.words("/set-aside").lower()


def test_the_configuration_shows_no_password(busy: Node) -> None:
    page = busy.page("/config")
    assert "hunter2" not in page
    assert "postgresql+psycopg://node:***@db/node?sslpassword=masked" in page
    assert "VOLUSON1" in page


def test_a_refused_file_is_shown_on_every_page(busy: Node) -> None:
    busy.problem = "config.yaml:7: scanners[0].ae_titel: unknown key"
    for path in ("/", "/config", "/deliveries", "/associations", f"/studies/{FAILED}"):
        assert "config.yaml:7: scanners[0].ae_titel: unknown key" in busy.words(path)


def test_hostile_names_stay_text(busy: Node) -> None:
    for path in ("/", "/associations", "/deliveries", f"/studies/{FAILED}", "/studies/<script>alert(1)<%2Fscript>"):
        page = busy.client.get(path).text
        assert "<b>X" not in page
        assert "<i>memory" not in page
        assert "<script>" not in page


def test_no_page_holds_inline_code_or_a_foreign_address(busy: Node) -> None:
    for path in ("/", "/associations", "/deliveries", "/set-aside", "/config", f"/studies/{COMMITTED}"):
        page = busy.page(path)
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
        assert not re.search(r"(?:src|href)=\"(?!/)", page)


@pytest.mark.parametrize("path", ["/", "/config", "/healthz", "/metrics", "/static/style.css", "/nowhere"])
def test_every_answer_carries_the_security_headers(busy: Node, path: str) -> None:
    headers = busy.client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_a_foreign_host_name_is_refused(busy: Node) -> None:
    answer = busy.client.get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert COMMITTED not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(busy: Node, method: str) -> None:
    assert busy.client.request(method, f"/studies/{FAILED}").status_code == 405


def test_metrics_count_what_the_rows_say(busy: Node) -> None:
    lines = busy.page("/metrics").splitlines()
    for line in (
        'dicom_node_instances{state="stored"} 3.0',
        'dicom_node_instances{state="quarantined"} 2.0',
        'dicom_node_studies{state="committed"} 1.0',
        'dicom_node_studies{state="failed"} 1.0',
        'dicom_node_studies{state="receiving"} 1.0',
        'dicom_node_studies{state="delivered"} 0.0',
        'dicom_node_deliveries{destination="main-pacs",state="failed"} 1.0',
        'dicom_node_deliveries{destination="ward",state="pending"} 0.0',
        'dicom_node_deliveries{destination="old-pacs",state="sent"} 1.0',
        'dicom_node_oldest_pending_delivery_age_seconds{destination="main-pacs"} 120.0',
        'dicom_node_oldest_pending_delivery_age_seconds{destination="ward"} 0.0',
        'dicom_node_associations{outcome="rejected"} 2.0',
        "dicom_node_open_associations 1.0",
        "dicom_node_config_refused 0.0",
        "dicom_node_audit_unsent_bytes 0.0",
    ):
        assert line in lines
    free = next(line for line in lines if line.startswith("dicom_node_spool_free_bytes "))
    assert float(free.split()[1]) > 0


def test_health_follows_the_database(node: Node) -> None:
    assert node.page("/healthz") == "ok\n"
    with node.database.write() as session:
        session.connection().exec_driver_sql("DROP TABLE associations")
    assert node.client.get("/healthz").status_code == 503
    assert "The database does not answer" in node.words("/associations", 503)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_server_serves_over_a_socket_until_told_to_stop(busy: Node) -> None:
    port, stop = free_port(), threading.Event()
    server = threading.Thread(target=serve, args=(busy.app, "127.0.0.1", port, stop))
    server.start()

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def answers() -> bool:
        try:
            return get("/healthz") == "ok\n"
        except urllib.error.URLError:
            return False

    try:
        wait_until(answers)
        assert COMMITTED in get("/")
        assert "--ground" in get("/static/style.css")
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port}"):
            serve(busy.app, "127.0.0.1", port, stop)
    finally:
        stop.set()
        server.join(10)
    assert not server.is_alive()
    assert not answers()


def test_who_looks_at_a_study_is_on_record_once_however_long_the_page_stays_open(busy: Node) -> None:
    for _ in range(3):
        busy.page(f"/studies/{COMMITTED}")
    busy.page(f"/studies/{FAILED}")
    busy.page("/")
    assert busy.client.get("/studies/9.9.9").status_code == 404
    assert [message.objects[0].identifier for message in busy.audited] == [COMMITTED, FAILED]
    message = busy.audited[0]
    assert (message.event.meaning, message.action) == ("DICOM Instances Accessed", "R")
    assert message.participants[0].host == "testclient"  # what the client of the tests calls itself


def test_after_a_while_it_is_a_look_of_its_own() -> None:
    looks = Looks()
    assert looks.is_new("10.0.0.8", COMMITTED, NOW)
    assert not looks.is_new("10.0.0.8", COMMITTED, NOW + timedelta(minutes=14))
    assert not looks.is_new("10.0.0.8", COMMITTED, NOW + timedelta(minutes=28))
    assert looks.is_new("10.0.0.8", COMMITTED, NOW + timedelta(minutes=43))
    assert looks.is_new("10.0.0.9", COMMITTED, NOW)
