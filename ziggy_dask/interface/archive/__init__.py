"""What an archive needs: an instance or a state of the datastore in formats of others."""

from ziggy_dask.interface.archive.crate import export_crate
from ziggy_dask.interface.archive.datacite import export_datacite
from ziggy_dask.interface.archive.prov import export_prov
from ziggy_dask.interface.archive.stac import export_stac

__all__ = ["export_crate", "export_datacite", "export_prov", "export_stac"]
