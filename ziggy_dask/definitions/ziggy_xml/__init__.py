"""Definition files of the original Ziggy: reading, writing, and what they mean here."""

from ziggy_dask.definitions.ziggy_xml.convert import (
    pipeline_from_ziggy,
    with_settings_of,
)
from ziggy_dask.definitions.ziggy_xml.environments import (
    environments_from_ziggy,
    library_from_environments,
)
from ziggy_dask.definitions.ziggy_xml.export import library_from_pipeline
from ziggy_dask.definitions.ziggy_xml.library import Library, ZiggySet
from ziggy_dask.definitions.ziggy_xml.merging import merge_libraries
from ziggy_dask.definitions.ziggy_xml.reading import parse_ziggy_xml, read_ziggy_xml
from ziggy_dask.definitions.ziggy_xml.writing import ziggy_xml

__all__ = [
    "Library",
    "ZiggySet",
    "environments_from_ziggy",
    "library_from_environments",
    "library_from_pipeline",
    "merge_libraries",
    "parse_ziggy_xml",
    "pipeline_from_ziggy",
    "read_ziggy_xml",
    "with_settings_of",
    "ziggy_xml",
]
