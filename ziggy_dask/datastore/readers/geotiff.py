"""The reader of GeoTIFF files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from ziggy_dask.datastore.readers.opening import Reading
from ziggy_dask.datastore.readers.parts import listed
from ziggy_dask.datastore.readers.warned import hear_warnings
from ziggy_dask.errors import DeliveryError


def read_geotiff(path: Path, *, masked: bool = True) -> Reading:
    """Open a GeoTIFF by rioxarray, without loading it.

    Overviews, which are smaller copies of the image, are left out.

    Parameters
    ----------
    path
        The file.
    masked
        Whether values are what they mean: scaled, with NaN for no data. Otherwise they
        are the stored numbers, with attributes that tell what they mean.

    Returns
    -------
    Reading
        With variable ``pixels`` (band, y, x); coordinates ``y`` and ``x`` of the pixels'
        centres, and ``spatial_ref``, whose attributes hold the coordinate reference
        system (``crs_wkt``) and the transform (``GeoTransform``).

    Raises
    ------
    DeliveryError
        If rioxarray is missing, or the file holds several images.
    """
    try:
        import rasterio
        import rioxarray
    except ModuleNotFoundError as error:
        raise DeliveryError(
            f"{path}: GeoTIFF files are read by rioxarray, which is not installed; "
            "install it with: pip install 'ziggy-dask[geotiff]'"
        ) from error

    # With another driver a file could name others, which would then be read.
    with hear_warnings([]), rasterio.open(path, driver="GTiff") as file:
        if file.subdatasets:
            raise DeliveryError(
                f"{path}: has {len(file.subdatasets)} images; a GeoTIFF is read if it "
                "has one: deliver them as files, or use the reader 'image'"
            )
        kinds = {np.dtype(one) for one in file.dtypes}
        is_masked = file.nodata is not None
    if masked and is_masked:
        wide = [str(one) for one in kinds if one.kind in "iu" and one.itemsize == 8]
        if wide:
            raise DeliveryError(
                f"{path}: {listed(wide)} with a value for no data would be rounded; read "
                "it as it is by 'reader: {geotiff: {masked: false}}'"
            )
    found = rioxarray.open_rasterio(path, driver="GTiff", mask_and_scale=False)
    assert isinstance(found, xr.DataArray)
    dataset = found.to_dataset(name="pixels")
    if masked:
        dataset = xr.decode_cf(dataset, decode_times=False, decode_coords=False)
        dataset.set_close(found.close)
    return Reading(content=dataset)
