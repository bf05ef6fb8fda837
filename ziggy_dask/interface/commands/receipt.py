"""``ziggy manifest``, ``receive``, ``deliveries``: data receipt."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.interface.commands.context import (
    json_option,
    opened_cluster,
    opened_records,
)
from ziggy_dask.interface.commands.watching import watchable
from ziggy_dask.interface.whole_files import write_file


@click.command()
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--dataset-id", type=int, required=True, help="Id; ≤ 0 may be used again."
)
@click.option("--name", default="", help="File name; default: that of DIRECTORY.")
@click.option(
    "--checksum",
    type=click.Choice(["MD5", "SHA1", "SHA256", "SHA512"]),
    default="SHA1",
    show_default=True,
    help="How checksums are computed.",
)
def manifest(directory: Path, dataset_id: int, name: str, checksum: str) -> None:
    """Write the manifest of all files below DIRECTORY into it."""
    from ziggy_dask.errors import DeliveryError
    from ziggy_dask.receipt import ChecksumType, generate_manifest, manifest_to_xml
    from ziggy_dask.receipt.manifest import MANIFEST_ENDING

    file_name = name or f"{directory.resolve().name}{MANIFEST_ENDING}"
    if not file_name.endswith(MANIFEST_ENDING) or "/" in file_name:
        raise DeliveryError(
            f"{file_name!r} can't name a manifest; it must end with {MANIFEST_ENDING!r}"
        )
    made = generate_manifest(directory, dataset_id, ChecksumType[checksum])
    path = directory / file_name
    write_file(path, manifest_to_xml(made))
    click.echo(f"{path}: {len(made.files)} files")


@click.command()
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--pipeline", help="Whose data types; needed if several have data receipt."
)
@click.option(
    "--no-manifest",
    is_flag=True,
    help="Take all files as they are, and leave them there.",
)
@json_option
@click.pass_context
def receive(
    ctx: click.Context,
    directory: Path,
    pipeline: str | None,
    no_manifest: bool,
    as_json: bool,
) -> None:
    """Take the deliveries in DIRECTORY into the datastore."""
    from ziggy_dask.interface.commands.records import show_ended
    from ziggy_dask.interface.commands.running import followed

    cluster = opened_cluster(ctx)
    with followed(cluster, as_json) as listen:
        instance = cluster.receive(
            directory, pipeline=pipeline, needs_manifest=not no_manifest, listen=listen
        )
    ctx.exit(show_ended([instance], as_json=as_json))


@click.command()
@click.option(
    "--quarantined", is_flag=True, help="List the bad files that were kept back."
)
@watchable
@click.pass_context
def deliveries(ctx: click.Context, quarantined: bool, as_json: bool) -> None:
    """List the deliveries that were taken in, and how many bad files were kept back."""
    from ziggy_dask.interface.output import show

    records = opened_records(ctx)
    kept = {one.directory.name: one for one in records.quarantined}
    if quarantined:
        bad = [
            {
                "task": int(task),
                "delivery": one.unit,
                "file": str(one.directory / name),
                "why": one.faults[name],
            }
            for task, one in kept.items()
            for name in one.kept
        ]
        show(bad, as_json=as_json, empty="no file is in quarantine")
        return
    rows = [
        {
            "dataset_id": one.dataset_id,
            "name": one.name,
            "task": one.task,
            "files": one.files,
            "bytes": one.bytes,
            "received": one.received,
            "quarantined": len(kept[task].kept)
            if (task := str(one.task)) in kept
            else 0,
        }
        for one in records.deliveries
    ]
    show(rows, as_json=as_json, empty="none yet")


@click.command()
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that were received, all versions of each."""
    from ziggy_dask.interface.output import show

    rows = [
        {
            "type": name,
            "version": one.revision,
            "file": one.original,
            "stored as": one.stored,
            "imported": one.imported,
            "valid from": one.valid_from,
            "until": one.valid_until,
        }
        for name, versions in opened_cluster(ctx).models.items()
        for one in versions
    ]
    show(rows, as_json=as_json, empty="none; deliver some in a directory 'models'")
