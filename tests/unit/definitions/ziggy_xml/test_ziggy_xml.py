"""Definition files of the original Ziggy: grammar, meaning, import and export."""

import re
from pathlib import Path

import pytest

import ziggy_dask as z
from ziggy_dask.definitions.check import check
from ziggy_dask.definitions.ziggy_xml import (
    Library,
    library_from_pipeline,
    merge_libraries,
    parse_ziggy_xml,
    pipeline_from_ziggy,
    read_ziggy_xml,
    ziggy_xml,
)
from ziggy_dask.definitions.ziggy_xml.java import python_pattern
from ziggy_dask.errors import DefinitionError

ROOT = Path(__file__).parents[4] / "pipelines" / "ziggy_style"

WHOLE = """
<step name="a" file="pkg/a.py" description="first" inputsClass="x.Y"/>
<step name="b"/>
<parameterSet name="ps" algorithmInterfaceName="iface">
  <parameter name="x" value="100." type="dOuBlE"/>
  <parameter name="y" value="100, 200, 300" type="doubleArRaY"/>
  <parameter name="z" value="100."/>
</parameterSet>
<datastoreRegexp name="sector" value="(sector-[0-9]{4})"/>
<datastoreRegexp name="cadence" value="(target|ffi)"/>
<datastoreNode name="sector" isRegexp="true" nodes="raw, cal">
  <datastoreNode name="raw" nodes="cadence"/>
  <datastoreNode name="cal" nodes="cadence"/>
  <datastoreNode name="cadence" isRegexp="true"/>
</datastoreNode>
<dataFileType name="in" location="sector/raw" fileNameRegexp="cadence$ffi/(p-[0-9]+)\\.nc"/>
<dataFileType name="all" location="sector/raw" fileNameRegexp="common\\.h5"
              includeAllFilesInAllSubtasks="true"/>
<dataFileType name="out" location="sector/cal" fileNameRegexp="cadence/(q-\\d+)\\.nc"/>
<dataFileType name="end" location="sector/cal" fileNameRegexp="end\\.txt"/>
<modelType type="geometry" fileNameRegex="g([0-9]{13})-([0-9]{3})\\.xml"
           versionNumberGroup="2" timestampGroup="1"/>
<pipeline name="p" description="d" rootNodeNames="data-receipt" instancePriority="HIGH">
  <parameterSet name="ps"/>
  <node name="data-receipt" childNodeNames="a"/>
  <node name="a" childNodeNames="b" maxWorkers="3" heapSizeGigabytes="2">
    <inputDataFileType name="in"/>
    <inputDataFileType name="all"/>
    <outputDataFileType name="out"/>
    <modelType name="geometry"/>
  </node>
  <node name="b" singleSubtask="true">
    <inputDataFileType name="out"/>
    <outputDataFileType name="end"/>
  </node>
</pipeline>
<pipelineEvent name="e" pipelineName="p" directory="/tmp/e" enableOnClusterStart="true"/>
<remoteEnvironment name="HECC" description="h" batchSystem="PBS" costUnit="SBU">
  <architecture name="bro" description="Broadwell" cores="28" ramGigabytes="128" cost="1.0"/>
  <queue name="low" description="low" maxWallTimeHours="4"/>
  <queue name="devel" description="d" maxNodes="512" autoSelectable="false"/>
</remoteEnvironment>
"""


def written(tmp_path, text, name="definition.xml"):
    path = tmp_path / name
    path.write_text(f"<pipelineDefinition>{text}</pipelineDefinition>")
    return path


def read(tmp_path, text):
    return read_ziggy_xml([written(tmp_path, text)])


def test_a_whole_definition_means_what_it_says(tmp_path):
    library = read(tmp_path, WHOLE)
    pipeline = pipeline_from_ziggy(library, "p", None)
    assert pipeline.events == (z.EventHandler(name="e", directory="/tmp/e"),)
    assert check(pipeline) == ()
    assert pipeline.priority is z.Priority.HIGH
    assert pipeline.patterns == {
        "sector": "(sector-[0-9]{4})",
        "cadence": "(target|ffi)",
    }
    given = pipeline.types["in"]
    assert str(given.location) == "{sector}/raw"
    assert given.files == r"{cadence=ffi}/(p-[0-9]+)\.nc"
    assert pipeline.types["out"].files == r"{cadence}/(q-[0-9]+)\.nc"
    assert (given.reader, pipeline.types["out"].reader) == ("bytes", "")
    a, b = pipeline.by_name["a"], pipeline.by_name["b"]
    assert a.step == z.ScriptStep(script="pkg/a.py", function="a")
    assert b.step == z.ProgramStep(program="b", arguments=("{directory}",))
    assert a.inputs == (
        z.Input(data_type="in"),
        z.Input(data_type="all", all_subtasks=True),
    )
    assert b.single_subtask
    assert pipeline.parameters == ("ps",)
    texts = {p.name: (p.text, p.type_text) for p in pipeline.sets["ps"].parameters}
    assert texts == {
        "x": ("100.0", "double"),
        "y": ("100.0,200.0,300.0", "doublearray"),
        "z": ("100.", "string"),
    }
    assert pipeline.sets["ps"].interface_name == "iface"
    environment = library.environments["HECC"]
    assert environment.batch_system == "pbs"
    assert [q.is_auto for q in environment.queues] == [True, False]


def test_xml_to_ours_to_xml_to_ours_is_stable(tmp_path):
    library = read(tmp_path, WHOLE)
    text = ziggy_xml(library)
    again = parse_ziggy_xml(text)
    assert again == library
    assert ziggy_xml(again) == text
    first = pipeline_from_ziggy(library, "p", None)
    exported = library_from_pipeline(first)
    assert pipeline_from_ziggy(exported, "p", None) == first
    assert (
        z.definitions.pipeline_from_yaml(z.definitions.pipeline_to_yaml(first)) == first
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<stepp name='a'/>",
            "<stepp> can't be in <pipelineDefinition>; did you mean 'step'",
        ),
        (
            "<step nam='a'/>",
            "<step> has the unknown attribute 'nam'; did you mean 'name'",
        ),
        ("<step/>", "<step> lacks the attribute 'name'"),
        ("<step name='a'/><step name='a'/>", "a second <step> is called 'a'"),
        (
            "<parameterSet name='p'><parameter name='x' value='1.5' type='int'/></parameterSet>",
            "'1.5' is not a whole number",
        ),
        (
            "<parameterSet name='p'><parameter name='x' value='1' type='complex'/></parameterSet>",
            "unknown type 'complex'",
        ),
        (
            "<pipeline name='p' description='' rootNodeNames='a'/>",
            "names the node 'a', which it does not have",
        ),
        (
            (
                "<pipeline name='p' description='' rootNodeNames='a' "
                "instancePriority='HI'><node name='a'/></pipeline>"
            ),
            "'instancePriority' is 'HI'",
        ),
        (
            (
                "<pipeline name='p' description='' rootNodeNames='a'>"
                "<node name='a' singleSubtask='maybe'/></pipeline>"
            ),
            "'singleSubtask' is 'maybe', but must be true or false",
        ),
        ("<datastoreNode name='a' nodes='b'/>", "name 'b', which is defined nowhere"),
        (
            "<datastoreNode name='a' nodes='b, b'><datastoreNode name='b'/></datastoreNode>",
            "name 'b' twice",
        ),
        (
            "<remoteEnvironment name='r' description='' batchSystem='lsf' costUnit='$'/>",
            "'batchSystem' is 'lsf'",
        ),
        ("<step name='a'>text</step>", "has text between the tags: 'text'"),
        ("<step name='a'>", "is not well-formed XML: mismatched tag"),
    ],
)
def test_a_fault_is_told_with_file_and_line(tmp_path, text, message):
    path = written(tmp_path, f"\n{text}")
    with pytest.raises(DefinitionError, match=re.escape(message)) as caught:
        read_ziggy_xml([path])
    assert str(caught.value).startswith(f"{path}:2: ")


def test_all_faults_of_all_files_are_told_at_once(tmp_path):
    first = written(tmp_path, "<step/>", "a.xml")
    second = written(tmp_path, "<x/>\n<step name='a' fil='x'/>", "b.xml")
    with pytest.raises(DefinitionError) as caught:
        read_ziggy_xml([second, first])
    assert [(f.file, f.line) for f in caught.value.faults] == [
        (str(first), 1),
        (str(second), 1),
        (str(second), 2),
    ]


def test_document_types_are_refused(tmp_path):
    path = tmp_path / "bomb.xml"
    path.write_text('<!DOCTYPE x [<!ENTITY a "b">]><pipelineDefinition/>')
    with pytest.raises(
        DefinitionError, match="document types and entities are refused"
    ):
        read_ziggy_xml([path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('<parameterSet name="ps"/>', '<parameterSet name="q"/>'),
            "parameter set 'q'",
        ),
        (
            ('<inputDataFileType name="in"/>', '<inputDataFileType name="inn"/>'),
            "'inn'",
        ),
        (('<modelType name="geometry"/>', '<modelType name="g"/>'), "model type 'g'"),
        (('<step name="b"/>', ""), "the step 'b', which is defined nowhere"),
        (('location="sector/raw"', 'location="no/such/place"'), "has no node 'no'"),
        (('<node name="b" ', '<node name="b" childNodeNames="a" '), "cycle: a → b → a"),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, message):
    text = WHOLE.replace(*change)
    assert text != WHOLE
    with pytest.raises(DefinitionError, match=re.escape(message)):
        pipeline_from_ziggy(read(tmp_path, text), "p", None)


def test_nested_and_flat_trees_are_the_same(tmp_path):
    nested = """
    <datastoreNode name="sector" isRegexp="true" nodes="dr">
      <datastoreNode name="dr" nodes="raw"><datastoreNode name="raw"/></datastoreNode>
    </datastoreNode>"""
    flat = """
    <datastoreNode name="sector" isRegexp="true" nodes="dr">
      <datastoreNode name="dr" nodes="raw"/>
      <datastoreNode name="raw"/>
    </datastoreNode>"""
    found = read(tmp_path, nested).directories
    assert list(found) == ["sector", "sector/dr", "sector/dr/raw"]
    assert read(tmp_path, flat).directories == found


def test_a_tree_with_flat_children_below_two_parents_has_ten_nodes(tmp_path):
    library = read(
        tmp_path,
        """
        <datastoreRegexp name="cadenceType" value="(target|ffi)"/>
        <datastoreRegexp name="sector" value="(sector-[0-9]{4})"/>
        <datastoreNode name="sector" isRegexp="true" nodes="mda">
          <datastoreNode name="mda" nodes="dr, cal">
            <datastoreNode name="dr" nodes="pixels"/>
            <datastoreNode name="cal" nodes="pixels"/>
            <datastoreNode name="pixels" nodes="cadenceType"/>
            <datastoreNode name="cadenceType" isRegexp="true" nodes="channel"/>
            <datastoreNode name="channel"/>
          </datastoreNode>
        </datastoreNode>
        <dataFileType name="TCE" location="sector/mda/cal/pixels"
                      fileNameRegexp="cadenceType/channel/tce.h5"/>
        """,
    )
    assert len(library.directories) == 10
    assert len(library.regexps) == 2
    one = library.file_types["TCE"]
    assert one.location == "sector/mda/cal/pixels"


def test_partial_sets_change_only_what_they_list(tmp_path):
    stored = read(
        tmp_path,
        """
        <parameterSet name="A">
          <parameter name="z1" value="100" type="int"/>
          <parameter name="z2" value="28.56, 57.12" type="floatarray"/>
        </parameterSet>
        <parameterSet name="B">
          <parameter name="n_cores" value="4" type="int"/>
          <parameter name="exclude" value="0" type="intarray"/>
        </parameterSet>
        """,
    )
    assert stored.parameter_sets["A"].content.parameters[1].text == "28.56,57.12"
    partial = read(
        tmp_path,
        """
        <parameterSet name="A" partial="true"><parameter name="z1" value="100"/></parameterSet>
        <parameterSet name="B" partial="true">
          <parameter name="n_cores" value="8"/>
          <parameter name="exclude" value="1, 2, 3"/>
        </parameterSet>
        """,
    )
    updated = merge_libraries(stored, partial, updates=True).parameter_sets
    assert updated["A"].content == stored.parameter_sets["A"].content
    changed = {p.name: (p.text, p.type_text) for p in updated["B"].content.parameters}
    assert changed == {"n_cores": ("8", "int"), "exclude": ("1,2,3", "intarray")}
    imported = merge_libraries(stored, partial, updates=False)
    assert imported.parameter_sets == stored.parameter_sets
    for text, message in (
        ('<parameter name="nope" value="1"/>', "has no parameter 'nope'"),
        ('<parameter name="n_cores" value="x"/>', "'x' is not a whole number"),
    ):
        bad = read(
            tmp_path, f'<parameterSet name="B" partial="true">{text}</parameterSet>'
        )
        with pytest.raises(DefinitionError, match=re.escape(message)):
            merge_libraries(stored, bad, updates=True)
    with pytest.raises(DefinitionError, match="changes one that is not there"):
        merge_libraries(Library(), partial, updates=True)


@pytest.mark.parametrize(
    ("java", "python"),
    [
        (r"(image-[0-9])\.png", r"(image-[0-9])\.png"),
        (r"\d+\w\s", "[0-9]+[a-zA-Z0-9_][ \\t\\n\\x0b\\f\\r]"),
        (r"[\d.]+", "[0-9.]+"),
        (r"\D", "[^0-9]"),
        (r"\p{Upper}[\p{Alnum}_]*", "[A-Z][a-zA-Z0-9_]*"),
        (r"(?<day>x)\k<day>", "(?P<day>x)(?P=day)"),
        (r"\Qa.b\E+", r"a\.b+"),
        (r"a*+(?>b)", "a*+(?>b)"),
        (r"(?i)abc", "(?i)abc"),
    ],
)
def test_java_expressions_are_translated(java, python):
    assert python_pattern(java) == python


@pytest.mark.parametrize(
    "java",
    ["[a-z&&[^b]]", "[a[bc]]", r"\p{Greek}", r"\G", "a(?i)b", "(?u)a", r"[\D]", "("],
)
def test_java_expressions_without_an_equal_are_refused(java):
    with pytest.raises(DefinitionError, match=re.escape(repr(java))):
        python_pattern(java)


def test_the_example_reads_well():
    library = read_ziggy_xml(sorted(ROOT.glob("*.xml")))
    pipeline = pipeline_from_ziggy(library, "ziggy-style", ROOT)
    assert check(pipeline) == ()
    assert [one.name for one in pipeline.ordered] == [
        "data-receipt",
        "permuter",
        "flip",
        "averaging",
    ]


def test_a_pipeline_that_the_original_can_t_say_is_not_exported():
    pipeline = z.Pipeline(
        name="p",
        data_types=(z.DataType(name="x", location=z.Location("x")),),
        nodes=(
            z.Node(
                name="n",
                step=z.FunctionStep(function="a:b"),
                outputs=("x",),
                memory_bytes=1,
            ),
        ),
        process=z.Process.NEW,
    )
    with pytest.raises(DefinitionError) as caught:
        library_from_pipeline(pipeline)
    told = str(caught.value)
    for words in (
        "'x' is not of 'kind: file'",
        "'n' is a function",
        "'memory'",
        "only new",
    ):
        assert words in told
    assert len(caught.value.faults) == 4
