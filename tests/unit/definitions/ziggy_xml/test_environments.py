from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from ziggy_dask.definitions import environments_from_yaml, read_cluster
from ziggy_dask.definitions.ziggy_xml import (
    environments_from_ziggy,
    library_from_environments,
    parse_ziggy_xml,
    ziggy_xml,
)
from ziggy_dask.interface.main import ziggy

CLUSTERS = Path(__file__).parents[4] / "clusters"
XML = """<pipelineDefinition>
<remoteEnvironment name="sample" description="Old machines" batchSystem="PBS" costUnit="$"
    queueTimeMetricsClass="gov.nasa.Metrics">
  <architecture name="vax" description="VAX" cores="4" ramGigabytes="1" cost="1"
      bandwidthGbps="10" nodeCollectionNamesFile="names.txt"/>
  <architecture name="alpha" description="Alpha" cores="16" ramGigabytes="4" cost="4.5"/>
  <queue name="dec" description="Digital" maxWallTimeHours="8" maxNodes="3"/>
  <queue name="debug" description="d" maxWallTimeHours="0.5" autoSelectable="false"/>
  <queue name="kept" description="k" reserved="true"/>
</remoteEnvironment>
<remoteEnvironment name="here" description="d" batchSystem="none" costUnit="$"/>
</pipelineDefinition>
"""


def select(name: str) -> tuple[str]:
    return (f"-l select=1:model={name}",)


EXPECTED = z.Environment(
    name="sample",
    batch=z.BatchSystem.PBS,
    description="Old machines",
    cost_unit="$",
    architectures=(
        z.Architecture(
            name="vax",
            description="VAX",
            cores=4,
            memory_bytes=10**9,
            cost=1.0,
            bandwidth=10.0,
            directives=select("vax"),
        ),
        z.Architecture(
            name="alpha",
            description="Alpha",
            cores=16,
            memory_bytes=4 * 10**9,
            cost=4.5,
            directives=select("alpha"),
        ),
    ),
    queues=(
        z.Queue(name="dec", description="Digital", max_time_s=28800, max_nodes=3),
        z.Queue(name="debug", description="d", max_time_s=1800, is_automatic=False),
        z.Queue(name="kept", description="k", is_reserved=True, is_automatic=False),
    ),
)


def test_remote_environments_become_environments_of_a_cluster_file(tmp_path):
    file = tmp_path / "remote.xml"
    file.write_text(XML)
    assert environments_from_ziggy(parse_ziggy_xml(XML)) == (EXPECTED,)
    done = CliRunner().invoke(ziggy, ["cluster", "environments", str(file)])
    assert environments_from_yaml(done.output) == (EXPECTED,)
    assert z.environments_of_ziggy(file) == done.output
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"cluster: a\n{done.output}")
    assert read_cluster(cluster).environments == (EXPECTED,)
    assert "#PBS -l select=1:model=vax\n" in z.check_cluster(cluster)["sample", "vax"]
    back = CliRunner().invoke(ziggy, ["cluster", "environments", str(cluster)])
    assert environments_from_ziggy(parse_ziggy_xml(back.output)) == (EXPECTED,)


def test_the_ready_file_for_nasa_can_be_said_but_for_its_directives():
    (hecc,) = read_cluster(CLUSTERS / "pbs.yaml").environments
    with pytest.raises(
        z.DefinitionError, match="'hecc': the original knows no 'directives"
    ):
        z.environments_for_ziggy(CLUSTERS / "pbs.yaml")
    plain = replace(hecc, directives=(), account="")
    text = ziggy_xml(library_from_environments((plain,)))
    assert environments_from_ziggy(parse_ziggy_xml(text)) == (plain,)


def test_files_without_such_an_environment_are_refused(tmp_path):
    file = tmp_path / "none.xml"
    file.write_text("<pipelineDefinition/>")
    with pytest.raises(z.DefinitionError, match="no remote environment with a batch"):
        z.environments_of_ziggy(file)


def test_an_environment_that_is_faulty_is_refused(tmp_path):
    file = tmp_path / "faulty.xml"
    file.write_text(XML.replace('cores="4"', 'cores="0"'))
    with pytest.raises(z.DefinitionError, match="'cores' is 0, but must be at least 1"):
        z.environments_of_ziggy(file)


def test_other_batch_systems_can_not_be_said():
    other = replace(
        EXPECTED,
        batch=z.BatchSystem.SLURM,
        architectures=(
            z.Architecture(
                name="a", cores=1, memory_bytes=10, gpus=1, directives=("x",)
            ),
        ),
    )
    with pytest.raises(z.DefinitionError) as caught:
        library_from_environments((other,))
    assert len(caught.value.faults) == 4
