"""A pipeline of the original Ziggy, unchanged, from import to products."""

import json
import shutil
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ziggy_dask.definitions import Remote
from ziggy_dask.interface.cluster import create_cluster

ROOT = Path(__file__).parents[2] / "pipelines" / "ziggy_style"
XML = sorted(ROOT.glob("*.xml"))


@pytest.fixture
def delivery(tmp_path):
    """Two sets of four images, and a model."""
    root = tmp_path / "delivery"
    random = np.random.default_rng(3)
    for dataset in ("set-1", "set-2"):
        (root / dataset / "L0").mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (6, 8, 3), dtype="u1")
            Image.fromarray(pixels).save(root / dataset / "L0" / f"image-{number}.png")
    (root / "models").mkdir()
    (root / "models" / "sample-model.txt").write_text("a model")
    return root


@pytest.fixture
def cluster(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\n")
    return create_cluster(file)


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def expected(delivery: Path, dataset: str) -> np.ndarray:
    raw = [pixels_of(p) for p in sorted((delivery / dataset / "L0").iterdir())]
    permuted = [np.roll(one, 1, axis=2) for one in raw]
    flipped = [f for one in permuted for f in (one[:, ::-1], one[::-1])]
    return np.rint(np.mean(flipped, axis=0))


def run(cluster, delivery, client, **options):
    cluster.receive(delivery, needs_manifest=False)
    return cluster.run("ziggy-style", start="permuter", client=client, **options)


def test_the_example_runs_from_import_to_products(cluster, delivery, client, tmp_path):
    done = cluster.import_ziggy(*XML)
    assert [(one.kind, one.change.value) for one in done] == [
        ("pipeline", "CREATE"),
        ("parameter set", "CREATE"),
    ]
    instance = run(cluster, delivery, client)
    assert instance.state.value == "COMPLETED", [
        (one.message) for task in instance.tasks for one in task.subtasks
    ]
    found = [(t.record.node, t.record.unit, t.record.total) for t in instance.tasks]
    assert found == [
        ("permuter", "[set-1]", 4),
        ("permuter", "[set-2]", 4),
        ("flip", "[set-1]", 4),
        ("flip", "[set-2]", 4),
        ("averaging", "[set-1]", 1),
        ("averaging", "[set-2]", 1),
    ]
    assert "with model sample-model.txt" in instance.tasks[0].logs(0)[0].log
    cluster.datastore.export(tmp_path / "out")
    for dataset in ("set-1", "set-2"):
        made = pixels_of(tmp_path / "out" / dataset / "L3" / "averaged-image.png")
        np.testing.assert_array_equal(made, expected(delivery, dataset))
        for path in (delivery / dataset / "L0").iterdir():
            copy = tmp_path / "out" / dataset / "L0" / path.name
            assert copy.read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2 * (4 * 4 + 1)


def test_the_ways_to_misbehave_are_seen(cluster, delivery, client):
    cluster.import_ziggy(*XML)
    instance = run(
        cluster,
        delivery,
        client,
        parameters={
            "Algorithm Parameters": {
                "throw exception subtask 0": "true",
                "produce output subtask 1": "false",
            }
        },
        where=["dataset=set-1"],
    )
    assert instance.state.value == "ERRORS_STALLED"
    outcomes = {one.number: one for one in instance.tasks[0].subtasks}
    assert outcomes[0].message == "ValueError: subtask 0 was asked to fail"
    assert outcomes[1].message == "the algorithm returned nothing"
    assert outcomes[2].outputs == ("set-1/L1",)


def test_importing_again_changes_nothing_and_updating_does(cluster, tmp_path):
    cluster.import_ziggy(*XML)
    assert {one.change.value for one in cluster.import_ziggy(*XML)} == {"SAME"}
    new = tmp_path / "new.xml"
    new.write_text(
        '<pipelineDefinition><parameterSet name="Algorithm Parameters" partial="true">'
        '<parameter name="execution pause seconds" value="2"/></parameterSet>'
        '<parameterSet name="other"/></pipelineDefinition>'
    )
    assert {one.change.value for one in cluster.import_ziggy(new)} == {"SAME"}
    done = {
        one.name: one.change.value for one in cluster.import_ziggy(new, updates=True)
    }
    assert done == {"ziggy-style": "SAME", "Algorithm Parameters": "UPDATE"}
    values = cluster.parameter_sets("ziggy-style")[
        "Algorithm Parameters"
    ].content.values
    assert values["execution pause seconds"] == 2.0
    assert values["produce output subtask 1"] is True


def test_where_subtasks_run_is_kept_when_definitions_are_read_again(tmp_path):
    file = tmp_path / "cluster.yaml"
    hecc = (ROOT.parents[1] / "clusters" / "pbs.yaml").read_text()
    file.write_text(hecc.replace("../.ziggy/hecc", "./home"))
    cluster = create_cluster(file)
    cluster.import_ziggy(*XML)
    pipeline = cluster.pipelines["ziggy-style"].pipeline
    settings = {
        "memory_bytes": 10**10,
        "typical_s": 540.0,
        "limit_s": 540.0,
        "remote": Remote(environment="hecc", max_nodes=20, min_subtasks=5),
    }
    nodes = tuple(
        replace(one, **settings) if one.name == "permuter" else one
        for one in pipeline.nodes
    )
    cluster.register(replace(pipeline, nodes=nodes))
    assert {one.change.value for one in cluster.import_ziggy(*XML)} == {"SAME"}
    for file in XML:
        text = file.read_text().replace(
            '<node name="permuter"', '<node name="permuter" maxWorkers="3"'
        )
        (tmp_path / file.name).write_text(text)
    cluster.import_ziggy(*sorted(tmp_path.glob("*.xml")), updates=True)
    again = cluster.pipelines["ziggy-style"].pipeline.by_name
    expected = next(one for one in nodes if one.name == "permuter")
    assert again["permuter"] == replace(expected, max_workers=3)
    assert again["flip"].remote is None
    found = cluster.estimate("ziggy-style", "permuter", subtasks=10_000, tasks=2).chosen
    assert (found.architecture, found.nodes, found.cost) == ("rom_ait", 40, 121.8)


def test_a_faulty_file_among_good_ones_registers_nothing(cluster, tmp_path):
    bad = tmp_path / "bad.xml"
    bad.write_text("<pipelineDefinition><step/></pipelineDefinition>")
    with pytest.raises(
        Exception, match=r"bad\.xml:1: <step> lacks the attribute 'name'"
    ):
        cluster.import_ziggy(*XML, bad)
    assert cluster.pipelines == {}
    assert cluster.import_ziggy(*XML, dry_run=True) == []
    assert cluster.pipelines == {}


def test_what_is_exported_can_be_imported(cluster, tmp_path):
    cluster.import_ziggy(*XML)
    cluster.set_parameters(
        "ziggy-style", {"Algorithm Parameters": {"execution pause seconds": 3}}
    )
    exported = tmp_path / "exported.xml"
    exported.write_text(cluster.export("ziggy-style", as_xml=True))
    file = tmp_path / "other.yaml"
    file.write_text("cluster: other\nhome: ./other\n")
    other = create_cluster(file)
    other.import_ziggy(exported, home=ROOT)
    assert other.export("ziggy-style") == cluster.export("ziggy-style")
    values = other.parameter_sets("ziggy-style")["Algorithm Parameters"].content.values
    assert values["execution pause seconds"] == 3.0


C = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glob.h>
/* Rotates the colours of binary PPM images: red to green, green to blue. */
int main(void) {
    glob_t found;
    if (glob("image-*.ppm", 0, NULL, &found)) return 2;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        int width, height;
        FILE *in = fopen(found.gl_pathv[i], "rb");
        if (!in || fscanf(in, "P6 %d %d 255", &width, &height) != 2) return 3;
        fgetc(in);
        size_t size = (size_t)width * height * 3;
        unsigned char *pixels = malloc(size), *out = malloc(size);
        if (fread(pixels, 1, size, in) != size) return 4;
        for (size_t p = 0; p < size; p += 3)
            for (int c = 0; c < 3; c++) out[p + (c + 1) % 3] = pixels[p + c];
        char name[200];
        snprintf(name, sizeof name, "%s", found.gl_pathv[i]);
        strcpy(strrchr(name, '.'), ".perm");
        FILE *to = fopen(name, "wb");
        fprintf(to, "P6 %d %d 255\n", width, height);
        fwrite(out, 1, size, to);
        fclose(to);
        fclose(in);
    }
    puts("permuted");
    return 0;
}
"""
SHELL = """
    #!/bin/sh
    # Takes an image twice, under two names; the flipping is done by perl.
    set -e
    for file in image-*.perm; do
        flip.pl lr "$file" > "${file%.perm}.fliplr"
        flip.pl ud "$file" > "${file%.perm}.flipud"
    done
"""
PERL = r"""
    #!/usr/bin/perl
    use strict; use warnings;
    my ($how, $name) = @ARGV;
    open(my $in, '<:raw', $name) or die "$name: $!";
    my $header = <$in>;
    my ($width, $height) = $header =~ /^P6 (\d+) (\d+) 255/ or die 'no image';
    local $/; my $pixels = <$in>;
    my @rows = unpack("(a" . 3 * $width . ")*", $pixels);
    @rows = reverse @rows if $how eq 'ud';
    @rows = map { join '', reverse unpack("(a3)*", $_) } @rows if $how eq 'lr';
    binmode STDOUT; print $header, @rows;
"""
PYTHON = """
    #!/usr/bin/env python3
    import glob

    def read(name):
        header, _, pixels = open(name, "rb").read().partition(b"\\n")
        return header, pixels

    images = [read(name) for name in sorted(glob.glob("image-*"))]
    means = [round(sum(values) / len(values)) for values in zip(*(p for _, p in images))]
    with open("averaged.ppm", "wb") as file:
        file.write(images[0][0] + b"\\n" + bytes(means))
"""


@pytest.mark.integration
def test_the_same_pipeline_in_four_languages(cluster, client, tmp_path):
    """C, shell, Perl and Python, without a line of ours in any of them."""
    root = tmp_path / "mission"
    (root / "bin").mkdir(parents=True)
    for name, text in (("flip", SHELL), ("flip.pl", PERL), ("averaging", PYTHON)):
        (root / "bin" / name).write_text(textwrap.dedent(text).lstrip())
        (root / "bin" / name).chmod(0o755)
    (root / "permuter.c").write_text(C)
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "needs a C compiler: apt-get install gcc libc6-dev"
    subprocess.run(
        [compiler, "-O2", "-o", root / "bin" / "permuter", root / "permuter.c"],
        check=True,
    )
    for path in XML:
        text = path.read_text().replace(' file="images/algorithms.py"', "")
        for old, new in (
            (r"\.perm\.png", r"\.perm"),
            (r"\.fliplr\.png", r"\.fliplr"),
            (r"\.flipud\.png", r"\.flipud"),
            (r"averaged-image\.png", r"averaged\.ppm"),
            (r"(image-[0-9])\.png", r"(image-[0-9])\.ppm"),
        ):
            text = text.replace(old, new)
        (root / path.name).write_text(text)
    cluster.import_ziggy(*sorted(root.glob("*.xml")))
    raw = tmp_path / "raw" / "set-1" / "L0"
    raw.mkdir(parents=True)
    random = np.random.default_rng(5)
    images = [random.integers(0, 256, (5, 7, 3), dtype="u1") for _ in range(4)]
    for number, pixels in enumerate(images):
        (raw / f"image-{number}.ppm").write_bytes(b"P6 7 5 255\n" + pixels.tobytes())
    (tmp_path / "raw" / "models").mkdir()
    (tmp_path / "raw" / "models" / "sample-model.txt").write_text("a model")
    instance = run(cluster, tmp_path / "raw", client)
    assert instance.state.value == "COMPLETED", [
        one.message for task in instance.tasks for one in task.subtasks
    ]
    made = cluster.datastore["set-1/L3"]["averaged.ppm"].partition(b"\n")[2]
    permuted = [np.roll(one.astype(int), 1, axis=2) for one in images]
    flipped = [f for one in permuted for f in (one[:, ::-1], one[::-1])]
    means = [round(v) for v in np.mean(flipped, axis=0).ravel().tolist()]
    assert list(made) == means


def test_the_command_line_imports_updates_and_exports(tmp_path, delivery, monkeypatch):
    from click.testing import CliRunner

    from ziggy_dask.interface.main import ziggy

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: test\nhome: ./home\n")

    def command(*arguments):
        return CliRunner().invoke(ziggy, [str(one) for one in arguments])

    assert command("cluster", "init", file).exit_code == 0
    done = command("import", *XML, "--json")
    assert [row["change"] for row in json.loads(done.output)] == ["CREATE", "CREATE"]
    done = command(
        "parameters",
        "ziggy-style",
        "--set",
        "Algorithm Parameters.execution pause seconds=1.5",
    )
    assert "UPDATE        Algorithm Parameters v0" in done.output
    done = command("update", *XML)
    assert done.exit_code == 0
    done = command("export", "ziggy-style", "--format", "xml", "-o", "out.xml")
    assert done.exit_code == 0
    assert 'name="ziggy-style"' in Path("out.xml").read_text()
    assert "script: images/algorithms.py" in command("export", "ziggy-style").output
    assert command("receive", delivery, "--no-manifest").exit_code == 0
    listed = command("datastore", "ls", "set-1/L0").output.split()
    assert "image-3.png" in listed
    stored = command("datastore", "cat", "set-1/L0/image-3.png")
    assert stored.stdout_bytes == (delivery / "set-1/L0/image-3.png").read_bytes()
    assert "has no file" in str(command("datastore", "cat", "set-1/L0/x").exception)
    assert "9 files in out" in command("datastore", "export", "out").output
    assert Path("out/set-2/L0/image-0.png").exists()
    mixed = command("import", XML[0], tmp_path)
    assert "either XML files or others" in mixed.output
