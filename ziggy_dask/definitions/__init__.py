"""What users write: pipelines, parameter sets, cluster files."""

from ziggy_dask.definitions.check import Problem, check, require_sound
from ziggy_dask.definitions.cluster import (
    AddressCompute,
    ClusterFile,
    Compute,
    Keep,
    LocalCompute,
    Programs,
    read_cluster,
)
from ziggy_dask.definitions.code import check_code, code_version, load_function
from ziggy_dask.definitions.location import FilePattern, Location
from ziggy_dask.definitions.parameters import (
    Parameter,
    ParameterSet,
    ParameterType,
    parameter_from_text,
    parameter_from_value,
)
from ziggy_dask.definitions.pipeline import (
    DaskFunctionStep,
    DataReceiptStep,
    DataType,
    FunctionStep,
    Input,
    ModelType,
    Node,
    Pipeline,
    Placeholder,
    Priority,
    ProductKind,
    ProgramStep,
    ScriptStep,
)
from ziggy_dask.definitions.text import (
    pipeline_from_yaml,
    pipeline_to_yaml,
    read_pipeline,
)

__all__ = [
    "AddressCompute",
    "ClusterFile",
    "Compute",
    "DaskFunctionStep",
    "DataReceiptStep",
    "DataType",
    "FilePattern",
    "FunctionStep",
    "Input",
    "Keep",
    "LocalCompute",
    "Location",
    "ModelType",
    "Node",
    "Parameter",
    "ParameterSet",
    "ParameterType",
    "Pipeline",
    "Placeholder",
    "Priority",
    "Problem",
    "ProductKind",
    "ProgramStep",
    "Programs",
    "ScriptStep",
    "check",
    "check_code",
    "code_version",
    "load_function",
    "parameter_from_text",
    "parameter_from_value",
    "pipeline_from_yaml",
    "pipeline_to_yaml",
    "read_cluster",
    "read_pipeline",
    "require_sound",
]
