"""`association` and `instance`: who called, and what was kept without being analysed."""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, print_json, print_table

association = typer.Typer(no_args_is_help=True, help="Who called the node, and what was refused.")
instance = typer.Typer(no_args_is_help=True, help="Received instances.")

Limit = Annotated[int, typer.Option(help="The newest so many.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.add_typer(association, name="association")
    app.add_typer(instance, name="instance")


@association.command("list")
def list_associations(config_path: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False, limit: Limit = 50) -> None:
    """List associations, newest first: who called, how it ended, and why what was refused."""
    from dicom_node.admin import open_admin

    found = open_admin(config_path).list_associations(limit)
    if as_json:
        print_json(found)
        return
    print_table(
        "Associations",
        ["started", "calling AE", "host", "called AE", "outcome", "accepted", "refused", "why"],
        [
            (
                a["started_at"],
                a["calling_ae_title"],
                a["host"],
                a["called_ae_title"],
                a["outcome"],
                a["instances_accepted"],
                a["instances_refused"],
                "; ".join(
                    dict.fromkeys(why for why in (a["reason"], *(c["reason"] for c in a["refused_contexts"])) if why)
                ),
            )
            for a in found
        ],
    )


@instance.command("list")
def list_instances(config_path: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False, limit: Limit = 50) -> None:
    """List instances that are kept but not analysed, newest first: quarantined, or in conflict with a known one."""
    from dicom_node.admin import open_admin

    found = open_admin(config_path).list_set_aside(limit)
    if as_json:
        print_json(found)
        return
    print_table(
        "Set aside",
        ["received", "state", "SOP Instance UID", "study", "reason", "file in data_dir"],
        [
            (
                i["received_at"],
                i["state"],
                i["sop_instance_uid"],
                i["study_instance_uid"] or "not readable",
                i["reason"],
                i["path"],
            )
            for i in found
        ],
    )
