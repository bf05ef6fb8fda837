"""``ziggy export-…``: an instance or a state of the datastore in formats of archives."""

from __future__ import annotations

from pathlib import Path

import click

from ziggy_dask.interface.commands import completion as complete
from ziggy_dask.interface.commands.context import at_option, opened_cluster


@click.command("export-crate")
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@click.argument(
    "directory", required=False, type=click.Path(path_type=Path, file_okay=False)
)
@click.option("--data", is_flag=True, help="With the products.")
@click.option("--license", "license_", default="", help="URL or words of the license.")
@click.pass_context
def export_crate(
    ctx: click.Context,
    instance: int,
    directory: Path | None,
    data: bool,
    license_: str,
) -> None:
    """Write what INSTANCE read, ran and made into DIRECTORY, as an RO-Crate.

    By default the directory is crate-INSTANCE.
    """
    place = opened_cluster(ctx).export_crate(
        instance, directory or f"crate-{instance}", data=data, license=license_
    )
    click.echo(f"{place} is an RO-Crate of instance {instance}")


@click.command("export-prov")
@click.argument("instance", type=int, shell_complete=complete.INSTANCE)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def export_prov(ctx: click.Context, instance: int, file: Path | None) -> None:
    """Write what INSTANCE read, ran and made into FILE, as W3C PROV-JSON.

    By default the file is prov-INSTANCE.json.
    """
    place = opened_cluster(ctx).export_prov(instance, file or f"prov-{instance}.json")
    click.echo(f"{place} has the provenance of instance {instance}")


@click.command("export-stac")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.argument("products", nargs=-1)
@at_option
@click.option("--data", is_flag=True, help="With the products.")
@click.pass_context
def export_stac(
    ctx: click.Context,
    directory: Path,
    products: tuple[str, ...],
    at: str | None,
    data: bool,
) -> None:
    """Write a STAC catalogue of PRODUCTS into DIRECTORY; without any, of all.

    Each product is an item. Its asset is its place in the datastore, with --data its files.
    """
    place = opened_cluster(ctx).export_stac(directory, products, at=at, data=data)
    click.echo(f"{place / 'catalog.json'} is a STAC catalogue")


@click.command("export-datacite")
@click.argument("tag")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--creator",
    "creators",
    multiple=True,
    required=True,
    help="Who made the data, e.g. 'Doe, Jo'; again for each.",
)
@click.option("--publisher", required=True, help="Who keeps them.")
@click.option("--year", type=int, help="Year of publication; by default this one.")
@click.option("--title", default="", help="By default the names of cluster and tag.")
@click.option("--license", "license_", default="", help="URL or words of the license.")
@click.pass_context
def export_datacite(
    ctx: click.Context,
    tag: str,
    file: Path | None,
    creators: tuple[str, ...],
    publisher: str,
    year: int | None,
    title: str,
    license_: str,
) -> None:
    """Write DataCite metadata of TAG into FILE, for a repository that gives DOIs.

    By default the file is datacite-TAG.json.
    """
    place = opened_cluster(ctx).export_datacite(
        tag,
        file or f"datacite-{tag}.json",
        creators=creators,
        publisher=publisher,
        year=year,
        title=title,
        license=license_,
    )
    click.echo(f"{place} describes {tag}")
