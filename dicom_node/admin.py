"""What commands ask and order of a node, running or not, in a process of their own; each is on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.audit import acts as audit_acts
from dicom_node.audit import reading
from dicom_node.audit.trail import FOLDER as TRAIL
from dicom_node.audit.trail import days
from dicom_node.bootstrap import RETENTION, open_audit, open_database, open_node_locks, open_services, prepare_database
from dicom_node.config import Config, load_config
from dicom_node.engine.executors import hold
from dicom_node.errors import BackupFailed, BadInput, NameTaken
from dicom_node.live_config import LiveConfig
from dicom_node.pipeline import operator
from dicom_node.pipeline.services import Services, utc_now
from dicom_node.store import backup, listings, studies
from dicom_node.store.deliveries import list_deliveries

COMMAND = "command"  #: the name of a process that runs one command, in the audit trail


@dataclass(frozen=True, slots=True)
class Admin:
    """What the command line asks and orders; the same steps as everywhere else, in the caller's process."""

    services: Services

    def list_studies(self, limit: int) -> list[dict[str, Any]]:
        """List the newest studies."""
        with self.services.database.read() as session:
            return studies.list_studies(session, limit)

    def show_study(self, study_instance_uid: str) -> dict[str, Any]:
        """Show one study.

        :raises BadInput: when it is unknown.
        """
        with self.services.database.read() as session:
            found = studies.show_study(session, study_instance_uid)
            if found is None:
                raise BadInput(f"there is no study {study_instance_uid}")
            operator.view_study(self.services, session, study_instance_uid)
        return found

    def retry_study(self, study_instance_uid: str) -> None:
        """Analyse a study again."""
        operator.retry_study(self.services, study_instance_uid)

    def cancel_study(self, study_instance_uid: str, reason: str) -> None:
        """Give a study up."""
        operator.cancel_study(self.services, study_instance_uid, reason)

    def redeliver(self, study_instance_uid: str, destination: str) -> int:
        """Give a destination the newest answer to a study; says how many objects."""
        return operator.redeliver(self.services, study_instance_uid, destination)

    def list_associations(self, limit: int) -> list[dict[str, Any]]:
        """List the newest associations."""
        with self.services.database.read() as session:
            return listings.list_associations(session, limit)

    def list_set_aside(self, limit: int) -> list[dict[str, Any]]:
        """List the newest instances that are kept but not analysed."""
        with self.services.database.read() as session:
            return listings.list_set_aside(session, limit)

    def list_deliveries(self, state: str | None) -> list[dict[str, Any]]:
        """List deliveries, the newest first."""
        with self.services.database.read() as session:
            return list_deliveries(session, state=state)

    def retry_deliveries(self, ids: Sequence[int] | None) -> int:
        """Try deliveries now: these, or every one that gave up or waits."""
        return operator.retry_deliveries(self.services, ids or None)


def open_admin(config_path: Path) -> Admin:
    """Open the database of a node, running or not; one that was never started gets its tables first."""
    live = LiveConfig(config_path)
    services = open_services(live, COMMAND)
    if not services.database.has_schema():
        prepare_database(live())
    return Admin(services)


def read_trail(config: Config, limit: int, study_instance_uid: str | None) -> list[dict[str, Any]]:
    """List the newest messages of the audit trail; that somebody did so is one of them from now on."""
    found = reading.newest(config.node.data_dir, limit, study_instance_uid)
    _audit_reading(config)
    return found


def check_trail(config: Config) -> list[str]:
    """Say where the chain of the audit trail is broken."""
    found = reading.faults(config.node.data_dir)
    _audit_reading(config)
    return found


def _audit_reading(config: Config) -> None:
    open_audit(config, COMMAND).trail_read(audit_acts.operator(), str(config.node.data_dir / TRAIL))


def audit_configuration(config_path: Path, change: str) -> None:
    """Take down that a person changed the configuration by a command.

    A node that never started has no data folder, and no trail: it begins with the first start.
    """
    config = load_config(config_path)
    if config.node.data_dir.is_dir():
        open_audit(config, COMMAND).reconfigured(audit_acts.operator(), str(config_path.absolute()), change)


def back_up(config: Config, folder: Path) -> backup.Copied:
    """Copy everything that the node holds into a new or empty folder; retention waits meanwhile, nothing else does.

    :raises BackupFailed: see :func:`dicom_node.store.backup.back_up`.
    """
    database = open_database(config)
    data_dir = config.node.data_dir
    try:
        if not database.has_schema():
            raise BackupFailed("there is no node to copy: its database is empty")
        with hold(open_node_locks(config), RETENTION):
            trail = [file.relative_to(data_dir).as_posix() for file in days(data_dir)]
            copied = backup.back_up(database, data_dir, trail, folder, utc_now())
    except NameTaken as taken:
        raise BackupFailed("retention is removing files just now, or another backup runs: try again later") from taken
    finally:
        database.close()
    open_audit(config, COMMAND).copied(audit_acts.operator(), str(folder.absolute()))
    return copied


def restore(config: Config, folder: Path) -> backup.Copied:
    """Make a node of a backup, where there is none yet, and bring its database to the newest schema.

    :raises BackupFailed: see :func:`dicom_node.store.backup.restore`.
    """
    copied = backup.restore(config.database_url, config.node.data_dir, folder)
    prepare_database(config)
    return copied
