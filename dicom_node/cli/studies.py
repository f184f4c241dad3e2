"""`study` and `delivery`: what became of every study and every object."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, console, print_json, print_table

study = typer.Typer(no_args_is_help=True, help="Studies: where each stands, run again, give up.")
delivery = typer.Typer(no_args_is_help=True, help="Result objects on their way to destinations.")

Uid = Annotated[str, typer.Argument(help="Study Instance UID.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(study, name="study")
    app.add_typer(delivery, name="delivery")


@study.command("list")
def list_studies(
    config_path: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(help="The newest so many.")] = 1000,
) -> None:
    """List studies, newest first."""
    from dicom_node.admin import open_admin

    found = open_admin(config_path).list_studies(limit)
    if as_json:
        print_json(found)
        return
    print_table(
        "Studies",
        ["Study Instance UID", "state", "generation", "instances", "results"],
        [(s["study_instance_uid"], s["state"], s["generation"], s["instances"], len(s["results"])) for s in found],
    )


@study.command("show")
def show_study(uid: Uid, config_path: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show one study: what was found, what was sent where, what was not analysed and why."""
    from dicom_node.admin import open_admin

    found = open_admin(config_path).show_study(uid)
    if as_json:
        print_json(found)
        return
    console.print(
        f"study {uid}: {found['state']}, generation {found['generation']}, "
        f"{found['instances']} instances{': ' + found['error'] if found['error'] else ''}"
    )
    # A UID in each line would leave no room for the rest: images have numbers, explained below.
    uids = dict.fromkeys(f["instance"] for f in found["findings"] if f.get("instance"))
    numbers = {uid: number for number, uid in enumerate(uids, 1)}
    print_table(
        "Findings",
        ["task", "what", "value", "image", "frame", "note"],
        [
            (
                f["task"],
                f["name"],
                " ".join(str(v) for v in (f["value"], f["unit"]) if v is not None),
                numbers.get(f.get("instance")),
                f["frame"],
                f["note"],
            )
            for f in found["findings"]
        ],
    )
    if numbers:
        print_table("Images", ["image", "SOP Instance UID"], [(number, uid) for uid, number in numbers.items()])
    print_table(
        "Results",
        ["kind", "SOP Instance UID", "destination", "state", "error"],
        [(r["kind"], r["sop_instance_uid"], r["destination"], r["state"], r["error"]) for r in found["results"]],
    )


@study.command("retry")
def retry_study(uid: Uid, config_path: ConfigPath = DEFAULT_CONFIG) -> None:
    """Analyse a study once more; the new answer names the old one as its predecessor."""
    from dicom_node.admin import open_admin

    open_admin(config_path).retry_study(uid)
    console.print(f"study {uid} will be analysed again")


@study.command("cancel")
def cancel_study(
    uid: Uid,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Give a study up: it is not analysed, and what was not sent is never sent; its instances are kept."""
    from dicom_node.admin import open_admin

    open_admin(config_path).cancel_study(uid, reason)
    console.print(f"study {uid} is cancelled")


@study.command("redeliver")
def redeliver(
    uid: Uid,
    destination: Annotated[str, typer.Argument(help="A destination's name in the configuration.")],
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Give the newest answer to a destination that was added since, if it was written in the form that it wants."""
    from dicom_node.admin import open_admin

    count = open_admin(config_path).redeliver(uid, destination)
    console.print(f"{count} objects go to {destination}")


@delivery.command("list")
def list_deliveries(
    config_path: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
    state: Annotated[str | None, typer.Option(help="Only pending, sent, committed, failed or cancelled.")] = None,
) -> None:
    """List deliveries with attempts, status and the destination's own words."""
    from dicom_node.admin import open_admin

    found = open_admin(config_path).list_deliveries(state)
    if as_json:
        print_json(found)
        return
    print_table(
        "Deliveries",
        ["id", "destination", "kind", "state", "attempts", "next attempt", "status", "error"],
        [
            (
                d["id"],
                d["destination"],
                d["kind"],
                d["state"],
                d["attempts"],
                d["next_attempt_at"],
                d["status"],
                d["error"],
            )
            for d in found
        ],
    )


@delivery.command("retry")
def retry_deliveries(
    ids: Annotated[list[int] | None, typer.Argument(help="Delivery ids; none: every one that failed or waits.")] = None,
    config_path: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send now what failed or waits for its next attempt; what was cancelled is never sent."""
    from dicom_node.admin import open_admin

    count = open_admin(config_path).retry_deliveries(ids)
    console.print(f"{count} deliveries are tried now")
