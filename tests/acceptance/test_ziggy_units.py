"""Units of work and subtasks of file products, as the original forms them."""

import textwrap

import pytest

from ziggy_dask.interface.cluster import create_cluster

XML = r"""
<pipelineDefinition>
  <step name="pa"/>
  <datastoreRegexp name="sector" value="(sector-[0-9]{4})"/>
  <datastoreRegexp name="cadenceType" value="(target|ffi|fast-target)"/>
  <datastoreRegexp name="pixelType" value="(science|collateral)"/>
  <datastoreRegexp name="channel" value="([1-4]:[1-4]:[A-D])"/>
  <datastoreNode name="sector" isRegexp="true" nodes="mda">
    <datastoreNode name="mda" nodes="dr, cal">
      <datastoreNode name="dr" nodes="pixels"/>
      <datastoreNode name="cal" nodes="pixels"/>
      <datastoreNode name="pixels" nodes="cadenceType"/>
      <datastoreNode name="cadenceType" isRegexp="true" nodes="pixelType"/>
      <datastoreNode name="pixelType" isRegexp="true" nodes="channel"/>
      <datastoreNode name="channel" isRegexp="true"/>
    </datastoreNode>
  </datastoreNode>
  <dataFileType name="US" location="sector/mda/dr/pixels/cadenceType/pixelType$science/channel"
    fileNameRegexp="(uncalibrated-pixels-[0-9]+)\.science\.nc"/>
  <dataFileType name="UC" location="sector/mda/dr/pixels/cadenceType/pixelType$collateral/channel"
    fileNameRegexp="(uncalibrated-pixels-[0-9]+)\.collateral\.nc"/>
  <dataFileType name="ALL" location="sector/mda/cal/pixels/cadenceType/pixelType$science/channel"
    fileNameRegexp="(everyone-needs-me-[0-9]+)\.nc" includeAllFilesInAllSubtasks="true"/>
  <dataFileType name="OUT" location="sector/mda/cal/pixels/cadenceType/pixelType$collateral/channel"
    fileNameRegexp="(outputs-file-[0-9]+)\.nc"/>
  <dataFileType name="TUS"
    location="sector/mda/dr/pixels/cadenceType$target/pixelType$science/channel"
    fileNameRegexp="(uncalibrated-pixels-[0-9]+)\.science\.nc"/>
  <dataFileType name="TUC"
    location="sector/mda/dr/pixels/cadenceType$target/pixelType$collateral/channel"
    fileNameRegexp="(uncalibrated-pixels-[0-9]+)\.collateral\.nc"/>
  <dataFileType name="wide" location="sector/mda/dr/pixels/cadenceType"
    fileNameRegexp="pixelType$science/channel/(uncalibrated-pixels-[0-9]+)\.science\.nc"/>
  <dataFileType name="wide out" location="sector/mda/cal/pixels/cadenceType"
    fileNameRegexp="pixelType$collateral/channel/(outputs-file-[0-9]+)\.nc"/>
  PIPELINE
</pipelineDefinition>
"""


def node(inputs, outputs="OUT", more=""):
    types = [f'<inputDataFileType name="{one}"/>' for one in inputs.split(",")]
    return f"""
      <pipeline name="test" description="" rootNodeNames="data-receipt">
        <node name="data-receipt" childNodeNames="pa"/>
        <node name="pa" {more}>
          {"".join(types)}<outputDataFileType name="{outputs}"/>
        </node>
      </pipeline>"""


def files():
    """Return the files of the datastore: content by path."""
    made = {}
    for sector in ("sector-0002", "sector-0003"):
        for cadence in ("target", "ffi"):
            for channel in ("1:1:A", "1:1:B"):
                place = f"{sector}/mda/dr/pixels/{cadence}"
                is_full = (sector, cadence, channel) == (
                    "sector-0002",
                    "target",
                    "1:1:A",
                )
                for kind, count in (("science", 8), ("collateral", 7)):
                    for number in range(count if is_full else 1):
                        name = f"uncalibrated-pixels-{number}.{kind}.nc"
                        made[f"{place}/{kind}/{channel}/{name}"] = f"{kind} {number}"
                for number in range(2):
                    name = f"everyone-needs-me-{number}.nc"
                    path = f"{sector}/mda/cal/pixels/{cadence}/science/{channel}/{name}"
                    made[path] = f"all {number}"
    return made


@pytest.fixture
def planned(tmp_path):
    def make(pipeline, given=None, groupless=False):
        file = tmp_path / "cluster.yaml"
        file.write_text("cluster: test\nhome: ./home\n")
        cluster = create_cluster(file)
        (tmp_path / "mission" / "bin").mkdir(parents=True)
        text = XML.replace("PIPELINE", pipeline).strip()
        if groupless:
            text = text.replace(
                "(uncalibrated-pixels-[0-9]+)", "uncalibrated-pixels-[0-9]+"
            )
        make.xml.write_text(text)
        cluster.import_ziggy(make.xml)
        make.deliver(cluster, given or files())
        return cluster, cluster.plan("test", start="pa")

    def deliver(cluster, given):
        for path, text in given.items():
            target = tmp_path / "delivery" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        cluster.receive(tmp_path / "delivery", needs_manifest=False)

    make.deliver = deliver
    make.bin = tmp_path / "mission" / "bin"
    make.xml = tmp_path / "mission" / "all.xml"
    return make


def test_units_are_named_by_the_parts_that_vary(planned):
    _, plan = planned(node("US"))
    assert [one.unit.name for one in plan.tasks] == [
        f"[sector-000{sector};{cadence};1:1:{channel}]"
        for sector in "23"
        for cadence in ("ffi", "target")
        for channel in "AB"
    ]


def test_pinned_parts_are_not_in_the_name_and_two_types_join(planned):
    _, plan = planned(node("TUS,TUC"))
    assert [one.unit.name for one in plan.tasks] == [
        f"[sector-000{sector};1:1:{channel}]" for sector in "23" for channel in "AB"
    ]
    assert {len(one.feeds) for one in plan.tasks} == {2}


def test_one_directory_is_named_by_all_its_free_parts(planned):
    path = "sector-0002/mda/dr/pixels/ffi/science/1:1:B"
    _, plan = planned(node("US"), {f"{path}/uncalibrated-pixels-0.science.nc": "x"})
    (task,) = plan.tasks
    assert task.unit.name == "[sector-0002;ffi;1:1:B]"
    assert dict(task.unit.values) == {
        "sector": "sector-0002",
        "cadenceType": "ffi",
        "pixelType": "science",
        "channel": "1:1:B",
    }


def test_subtasks_are_made_of_files_that_belong_together(planned, client):
    """Each also gets the files that all get; outputs go where their unit says."""
    cluster, plan = planned(node("US,UC,ALL"))
    text = """
        #!/bin/sh
        number=$(ls uncalibrated-pixels-*.science.nc | tr -dc 0-9)
        cat *.nc > outputs-file-$number.nc
        ls *.nc
    """
    program = planned.bin / "pa"
    program.write_text(textwrap.dedent(text).lstrip())
    program.chmod(0o755)
    task = next(t for t in plan.tasks if t.unit.name == "[sector-0002;target;1:1:A]")
    keys = [f"uncalibrated-pixels-{n}" for n in range(7)]
    assert task.labels.texts() == keys
    instance = cluster.run(
        "test",
        start="pa",
        where=["sector=sector-0002", "cadenceType=target", "channel=.*A"],
        client=client,
    )
    assert instance.state.value == "COMPLETED", instance.tasks[0].record.message
    made = cluster.datastore["sector-0002/mda/cal/pixels/target/collateral/1:1:A"]
    assert made["outputs-file-3.nc"] == b"all 0all 1collateral 3science 3"
    assert len(made) == 7
    log = instance.tasks[0].logs(3)[0].log.split()
    assert log == [
        "everyone-needs-me-0.nc",
        "everyone-needs-me-1.nc",
        "outputs-file-3.nc",
        "uncalibrated-pixels-3.collateral.nc",
        "uncalibrated-pixels-3.science.nc",
    ]


def test_files_in_deeper_directories_make_subtasks_of_one_unit(planned, client):
    cluster, plan = planned(node("wide", "wide out"))
    assert [one.unit.name for one in plan.tasks] == [
        f"[sector-000{sector};{cadence}]"
        for sector in "23"
        for cadence in ("ffi", "target")
    ]
    assert [one.count for one in plan.tasks] == [2, 9, 2, 2]
    assert plan.tasks[1].labels.texts()[0] == "1:1:A+uncalibrated-pixels-0"
    part = cluster.plan("test", start="pa", where=["channel=1:1:A"])
    assert [one.count for one in part.tasks] == [1, 8, 1, 1]
    program = planned.bin / "pa"
    program.write_text(
        "#!/bin/sh\nfor f in *.science.nc; do cp $f outputs-file-1.nc; done\n"
    )
    program.chmod(0o755)
    instance = cluster.run(
        "test",
        start="pa",
        where=["sector=sector-0003", "cadenceType=ffi"],
        client=client,
    )
    assert instance.state.value == "COMPLETED", instance.tasks[0].subtasks[0]
    for channel in "AB":
        place = f"sector-0003/mda/cal/pixels/ffi/collateral/1:1:{channel}"
        session = cluster._site.repository.reading()
        from ziggy_dask.datastore.items import read_file_item

        assert read_file_item(session, place, "outputs-file-1.nc").data


def test_a_file_type_without_a_group_makes_one_subtask_of_all(planned):
    _, plan = planned(node("US"), groupless=True)
    assert {one.count for one in plan.tasks} == {1}


def test_only_files_that_all_get_make_one_subtask(planned):
    _, plan = planned(node("ALL"))
    assert {one.count for one in plan.tasks} == {1}


def test_a_single_subtask_gets_all_files(planned):
    _, plan = planned(node("US,UC", more='singleSubtask="true"'))
    assert {one.count for one in plan.tasks} == {1}


def test_files_of_which_products_were_made_are_left_out_on_demand(planned, client):
    """A file that was used is old, even if the files that belong to it are new."""
    all_files = files()
    first = {
        path: text
        for path, text in all_files.items()
        if path.startswith("sector-0002/mda/dr/pixels/target/collateral/1:1:A/")
        and path.endswith(("-0.collateral.nc", "-1.collateral.nc"))
    }
    program = planned.bin / "pa"
    cluster, _ = planned(node("UC"), first)
    program.write_text(
        "#!/bin/sh\necho made > outputs-file-$(ls *.nc | tr -dc 0-9).nc\n"
    )
    program.chmod(0o755)
    assert cluster.run("test", start="pa", client=client).state.value == "COMPLETED"

    planned.xml.write_text(XML.replace("PIPELINE", node("US,UC,ALL")).strip())
    cluster.import_ziggy(planned.xml, updates=True)
    planned.deliver(cluster, {p: t for p, t in all_files.items() if p not in first})
    plan = cluster.plan("test", start="pa", process="new")
    task = next(t for t in plan.tasks if t.unit.name == "[sector-0002;target;1:1:A]")
    assert task.labels.texts() == [f"uncalibrated-pixels-{n}" for n in range(2, 7)]
    of_all = cluster.plan("test", start="pa")
    assert plan.subtask_count == of_all.subtask_count - 2
