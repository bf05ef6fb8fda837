"""What a cluster knows how to do: pipelines and parameters, registered and changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ziggy_dask.definitions import (
    Pipeline,
    check_code,
    parameters_to_yaml,
    read_parameters,
    read_pipeline,
    require_sound,
)
from ziggy_dask.definitions.draft import Draft
from ziggy_dask.engine.launch import chosen_sets
from ziggy_dask.errors import DefinitionError, Fault
from ziggy_dask.interface.importing import export_definition, import_ziggy
from ziggy_dask.interface.recorded import Records
from ziggy_dask.records import library
from ziggy_dask.records.library import Change, Registered
from ziggy_dask.supervisor import OpenCluster

Overrides = Mapping[str, Mapping[str, object]]
_DRAFTS = "drafts"
"""Directory, in a cluster's own, of the text of drafts."""


class Library(Records):
    """The registered definitions of a cluster, and all that is on record of it.

    Parameters
    ----------
    site
        The open cluster.
    """

    def __init__(self, site: OpenCluster) -> None:
        super().__init__(site.cluster, site.database)
        self._site = site

    def register(
        self,
        *pipelines: Pipeline | Draft | str | os.PathLike[str],
        dry_run: bool = False,
    ) -> list[Registered]:
        """Register pipelines: definitions, drafts, or files or directories of them.

        The text of a draft is kept in the cluster's directory.

        Raises
        ------
        DefinitionError
            With everything that is wrong; nothing is registered then.
        """
        sound = [_checked(one, self.home / _DRAFTS) for one in pipelines]
        return [] if dry_run else library.register(self._site.database, sound)

    def import_ziggy(
        self,
        *files: str | os.PathLike[str],
        updates: bool = False,
        home: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> list[Registered]:
        """Register the definitions of XML files of the original Ziggy, all or nothing.

        Parameters
        ----------
        *files
            The files.
        updates
            Whether definitions that are there already are replaced. If not, only new
            ones are taken.
        home
            Directory of the algorithms: programs in ``bin``, environments in ``env``.
            By default the directory of the first file.
        dry_run
            Whether to check only.

        Raises
        ------
        DefinitionError
            With everything that is wrong; nothing is registered then.
        """
        return import_ziggy(
            self._site.database,
            [Path(file) for file in files],
            updates=updates,
            home=Path(home) if home else None,
            dry_run=dry_run,
        )

    def export(self, pipeline: str, *, as_xml: bool = False) -> str:
        """Return a pipeline as YAML, or as XML of the original Ziggy."""
        return export_definition(self._site.database, pipeline, as_xml=as_xml)

    def set_parameters(
        self, pipeline: str, changes: Overrides | str | os.PathLike[str]
    ) -> list[Registered]:
        """Change values of parameters for all runs to come.

        Parameters
        ----------
        pipeline
            Name of the pipeline.
        changes
            New values by parameter set and name, or a file that holds such; what it
            does not name stays.

        Returns
        -------
        list
            What became of each set of the pipeline.

        Raises
        ------
        DefinitionError
            If a name is unknown or a value does not fit; nothing is changed then.
        """
        if not isinstance(changes, Mapping):
            changes = {
                one.name: {p.name: p.value for p in one.parameters}
                for one in read_parameters(Path(changes))
            }
        stored = library.pipeline(self._site.database, pipeline)
        chosen = chosen_sets(self._site, stored, changes)
        done = library.change_parameters(self._site.database, pipeline, changes)
        return [
            *done,
            *(
                Registered(
                    kind="parameter set",
                    name=name,
                    version=before.version,
                    change=Change.LIBRARY_ONLY,
                )
                for name, (before, _) in chosen.items()
                if name not in changes
            ),
        ]

    def export_parameters(self, pipeline: str) -> str:
        """Return the newest parameter sets of a pipeline as text for `set_parameters`."""
        sets = self.parameter_sets(pipeline).values()
        return parameters_to_yaml([one.content for one in sets])


def _checked(
    pipeline: Pipeline | Draft | str | os.PathLike[str], drafts: Path
) -> Pipeline:
    """Return a pipeline, read if need be, that has nothing wrong with it."""
    if isinstance(pipeline, Draft):
        return read_pipeline(pipeline.keep(drafts))
    if not isinstance(pipeline, Pipeline):
        return read_pipeline(Path(pipeline))
    require_sound(pipeline)
    problems = [Fault(message=one.message) for one in check_code(pipeline)]
    if problems:
        raise DefinitionError(problems)
    return pipeline
