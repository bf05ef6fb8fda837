"""Three small algorithms on images: permute colours, flip, average."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import xarray as xr

SET = "Algorithm Parameters"


def permute(raw_image: xr.Dataset, parameters: Mapping, context) -> xr.Dataset | None:  # noqa: ANN001
    """Move every colour one channel on: red to green, green to blue, blue to red.

    Parameters
    ----------
    raw_image
        ``pixels`` (image, y, x, channel), uint8; one image.
    parameters
        Set ``Algorithm Parameters``: pause, and the two ways to misbehave.
    context
        Tells the number of the subtask.

    Returns
    -------
    xarray.Dataset or None
        ``pixels`` as in the input; None leaves the subtask without output.
    """
    wanted = parameters[SET]
    time.sleep(wanted["execution_pause_seconds"])
    if wanted["throw_exception_subtask_0"] and context.subtask == 0:
        raise ValueError("subtask 0 was asked to fail (throw_exception_subtask_0)")
    if not wanted["produce_output_subtask_1"] and context.subtask == 1:
        print("subtask 1 was asked to make no output (produce_output_subtask_1)")
        return None
    return raw_image.assign(
        pixels=raw_image["pixels"].roll(channel=1, roll_coords=False)
    )


def flip(permuted_image: xr.Dataset, parameters: Mapping) -> dict[str, xr.Dataset]:
    """Mirror an image in two ways.

    Parameters
    ----------
    permuted_image
        ``pixels`` (image, y, x, channel), uint8; one image.
    parameters
        Set ``Algorithm Parameters``: pause.

    Returns
    -------
    dict
        ``left_right_image`` with x reversed, ``up_down_image`` with y reversed.
    """
    time.sleep(parameters[SET]["execution_pause_seconds"])
    return {
        "left_right_image": permuted_image.isel(x=slice(None, None, -1)),
        "up_down_image": permuted_image.isel(y=slice(None, None, -1)),
    }


def average(
    left_right_image: xr.Dataset, up_down_image: xr.Dataset, parameters: Mapping
) -> xr.Dataset:
    """Average all images of a data set, of both kinds.

    Parameters
    ----------
    left_right_image, up_down_image
        ``pixels`` (image, y, x, channel), uint8; all images.
    parameters
        Set ``Algorithm Parameters``: pause.

    Returns
    -------
    xarray.Dataset
        ``pixels`` (y, x, channel), uint8, the mean rounded to the nearest level.
    """
    time.sleep(parameters[SET]["execution_pause_seconds"])
    both = xr.concat([left_right_image["pixels"], up_down_image["pixels"]], dim="image")
    mean = np.rint(both.mean("image", dtype="float64")).astype("uint8")
    return mean.to_dataset(name="pixels")
