"""ziggy-dask: science data pipelines on Dask, Zarr and xarray.

>>> import ziggy_dask as z
>>> cluster = z.open("clusters/local.yaml")            # doctest: +SKIP
>>> instance = cluster.run("sample")                   # doctest: +SKIP
>>> cluster.datastore["set-1/L3"]                      # doctest: +SKIP
"""

from ziggy_dask.frames import make_safe
from ziggy_dask.lazily import names_from

make_safe()  # before any thread of a compiled library is there

_HOMES = {
    "open": "ziggy_dask.interface.cluster:open_cluster",
    "create": "ziggy_dask.interface.cluster:create_cluster",
    "create_mission": "ziggy_dask.interface.mission:create_mission",
    "environments_for_ziggy": "ziggy_dask.interface.checking:environments_for_ziggy",
    "environments_of_ziggy": "ziggy_dask.interface.checking:environments_of_ziggy",
    "check_cluster": "ziggy_dask.interface.checking:check_cluster",
    "Cluster": "ziggy_dask.interface.cluster:Cluster",
    "Instance": "ziggy_dask.interface.objects:Instance",
    "Task": "ziggy_dask.interface.objects:Task",
    "read_pipeline": "ziggy_dask.definitions:read_pipeline",
    "pipeline_to_yaml": "ziggy_dask.definitions:pipeline_to_yaml",
    **{
        name: f"ziggy_dask.definitions:{name}"
        for name in (
            "AddressCompute",
            "Architecture",
            "BatchSystem",
            "ClassCompute",
            "CloudCompute",
            "DaskFunctionStep",
            "DataReceiptStep",
            "DataType",
            "Environment",
            "EventHandler",
            "FunctionStep",
            "GatewayCompute",
            "Input",
            "KubernetesCompute",
            "LocalCompute",
            "Location",
            "ModelType",
            "Node",
            "Optimizer",
            "Options",
            "Parameter",
            "ParameterSet",
            "ParameterType",
            "Pipeline",
            "Placeholder",
            "Priority",
            "Process",
            "ProductKind",
            "ProgramStep",
            "Provider",
            "Queue",
            "Remote",
            "Retry",
            "ScriptStep",
            "Secret",
            "Security",
            "SshCompute",
            "parameter_from_value",
            "schema",
        )
    },
    "Draft": "ziggy_dask.definitions.draft:Draft",
    "Datastore": "ziggy_dask.datastore:Datastore",
    "StoredProduct": "ziggy_dask.datastore.product:StoredProduct",
    "FileItem": "ziggy_dask.datastore:FileItem",
    "Plan": "ziggy_dask.planning:Plan",
    "Context": "ziggy_dask.workers:Context",
    **{
        name: f"ziggy_dask.errors:{name}"
        for name in (
            "ClusterError",
            "DatastoreError",
            "DefinitionError",
            "DeliveryError",
            "LeaseError",
            "RecordsError",
            "TaskError",
            "ZiggyError",
        )
    },
}

__all__ = list(_HOMES)


# The package loads fast: a name is imported when it is first asked for.
__getattr__ = names_from(__name__, _HOMES)


def __dir__() -> list[str]:
    """List the public names, for completion."""
    return sorted(_HOMES)
