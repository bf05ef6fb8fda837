"""``python -m ziggy_dask``: the ``ziggy`` command."""

from ziggy_dask.interface.main import main

if __name__ == "__main__":
    main()
