"""`ae`, `config`, `db`, `audit`: what an admin sets up, and what is on record about everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, console, parse_peer, print_json, print_table
from dicom_node.config import load_config

ae = typer.Typer(no_args_is_help=True, help="Who may send to the node, and who receives its results.")
config = typer.Typer(no_args_is_help=True, help="The configuration file.")
db = typer.Typer(no_args_is_help=True, help="The database.")


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(ae, name="ae")
    app.add_typer(config, name="config")
    app.add_typer(db, name="db")
    app.command("audit")(audit)


@ae.command("list")
def list_ae(config_path: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List scanners and destinations."""
    settings = load_config(config_path)
    if as_json:
        print_json(settings.model_dump(mode="json", include={"scanners", "destinations"}))
        return
    print_table(
        "Scanners (may send)",
        ["AE title", "host", "complete after", "at the latest"],
        [
            (s.ae_title, s.host or "any", f"{s.quiet_seconds:g} s quiet", f"{s.cap_seconds:g} s")
            for s in settings.scanners
        ],
    )
    print_table(
        "Destinations (receive results)",
        ["name", "AE title", "address", "commitment", "sends"],
        [
            (d.name, d.ae_title, f"{d.host}:{d.port}", "yes" if d.commitment else "no", ", ".join(d.send))
            for d in settings.destinations
        ],
    )


@ae.command("add")
def add_ae(
    peer: Annotated[str, typer.Argument(help="AE title of a scanner, or AE@HOST:PORT of a destination.")],
    destination: Annotated[str | None, typer.Option(help="Make it a destination of this name.")] = None,
    host: Annotated[str | None, typer.Option(help="Only accept the scanner from this host.")] = None,
    port: Annotated[int, typer.Option(help="Where the scanner takes storage commitment reports.")] = 104,
    quiet_seconds: Annotated[float, typer.Option(help="Quiet time after which the scanner's studies close.")] = 10,
    cap_seconds: Annotated[float, typer.Option(help="Time after which they close at the latest.")] = 900,
    commitment: Annotated[bool, typer.Option(help="Ask the destination to commit what it took.")] = True,
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Add a scanner, or with --destination NAME a receiver of results. A running node takes it over at once."""
    from dicom_node.admin import audit_configuration
    from dicom_node.config_file import add_destination, add_scanner

    if destination is None:
        entry = {
            "ae_title": peer,
            "host": host,
            "port": port,
            "quiet_seconds": quiet_seconds,
            "cap_seconds": cap_seconds,
        }
        add_scanner(config_path, entry)
    else:
        to = parse_peer(peer)
        add_destination(
            config_path,
            {
                "name": destination,
                "ae_title": to.ae_title,
                "host": to.host,
                "port": to.port,
                "commitment": commitment,
            },
        )
    what = "scanner" if destination is None else f"destination {destination}"
    audit_configuration(config_path, f"ae add: {what} {peer}")
    console.print(f"added to {config_path}")


@ae.command("remove")
def remove_ae(
    name: Annotated[str, typer.Argument(help="AE title of a scanner, or name of a destination.")],
    scanner: Annotated[
        bool | None, typer.Option("--scanner/--destination", help="Which of the two, when both have that name.")
    ] = None,
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Remove a scanner or a destination."""
    from dicom_node.admin import audit_configuration
    from dicom_node.config_file import remove

    remove(config_path, name, None if scanner is None else "scanners" if scanner else "destinations")
    audit_configuration(config_path, f"ae remove: {name}")
    console.print(f"removed from {config_path}")


@config.command("check")
def check_config(config_path: ConfigPath = DEFAULT_CONFIG) -> None:
    """Check the file without starting anything."""
    from datetime import UTC, datetime

    from dicom_node.tls import certificates

    settings = load_config(config_path)
    console.print(f"{config_path}: valid")
    for warning in filter(None, (it.warning(datetime.now(UTC)) for it in certificates(settings))):
        console.print(warning, style="yellow")


@db.command("upgrade")
def upgrade_db(config_path: ConfigPath = DEFAULT_CONFIG) -> None:
    """Bring the database to the newest schema; run it before starting a new release."""
    from dicom_node.bootstrap import prepare_database

    prepare_database(load_config(Path(config_path)))
    console.print("the schema is up to date")


def audit(
    config_path: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="The newest so many.")] = 50,
    study: Annotated[str | None, typer.Option(help="Only what is about this Study Instance UID.")] = None,
    check: Annotated[bool, typer.Option("--check", help="See instead whether a line was changed or removed.")] = False,
) -> None:
    """List the audit trail, newest first: who sent, changed, viewed and delivered what. To list it is on record too."""
    from dicom_node.admin import check_trail, read_trail

    settings = load_config(config_path)
    if check:
        faults = check_trail(settings)
        if as_json:
            print_json(faults)
        else:
            print_table("Faults of the audit trail", ["where and what"], [(fault,) for fault in faults])
        raise typer.Exit(1 if faults else 0)
    found = read_trail(settings, limit, study)
    if as_json:
        print_json(found)
        return
    print_table(
        "Audit trail",
        ["time", "event", "outcome", "who", "study or object", "patient id", "instances", "said"],
        [
            (
                entry["time"],
                ": ".join(filter(None, (entry["event"], entry["type"]))),
                entry["outcome"],
                "; ".join(entry["who"] or ()),
                entry["study_instance_uid"] or entry["object"],
                entry["patient_id"],
                entry["instances"],
                entry["said"],
            )
            for entry in found
        ],
    )
