"""Job scripts are compared with texts in ``scripts``."""

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import ziggy_dask as z
from ziggy_dask.compute.script import JobSpec, check_jobs, job_script
from ziggy_dask.definitions import check_environment
from ziggy_dask.interface.main import ziggy

SCRIPTS = Path(__file__).parent / "scripts"
CLUSTERS = Path(__file__).parents[3] / "clusters"

DIRECTIVES = {
    z.BatchSystem.SLURM: ("--constraint=rome",),
    z.BatchSystem.PBS: ("-l select=1:model=rom_ait",),
    z.BatchSystem.SGE: ("-pe smp 128",),
    z.BatchSystem.LSF: ('-R "select[rome]"',),
    z.BatchSystem.HTCONDOR: ('requirements = (Microarch == "rome")',),
    z.BatchSystem.OAR: ("-p \"cpu='rome'\"",),
    z.BatchSystem.MOAB: ("-l nodes=1:ppn=128:rome",),
}


def environment(batch: z.BatchSystem) -> z.Environment:
    options = {"lsf_units": "mb"} if batch is z.BatchSystem.LSF else {}
    return z.Environment(
        name="there",
        batch=batch,
        account="s1234",
        prologue=("module load python",),
        options=z.Options.of({"shebang": "#!/bin/bash", **options}),
        architectures=(
            z.Architecture(
                name="rome",
                cores=128,
                memory_bytes=512_000_000_000,
                directives=DIRECTIVES[batch],
            ),
        ),
    )


def spec(one: z.Environment, **changes) -> JobSpec:
    values = {
        "environment": one,
        "architecture": one.architectures[0],
        "scheduler": "tls://10.0.0.1:8786",
        "name": "ziggy-7-3",
        "queue": "normal",
        "wall_s": 8 * 3600.0,
        "resources": (("memory", 512e9), ("environment/there", 1.0)),
        "local_directory": "/scratch",
        "python": "python3",
    }
    return JobSpec(**values | changes)


@pytest.mark.parametrize("batch", z.BatchSystem, ids=lambda one: one.value)
def test_a_job_script_is_as_stored(batch):
    one = environment(batch)
    assert check_jobs(one) == ()
    stored = (SCRIPTS / f"{batch.value}.txt").read_text()
    assert job_script(spec(one)).strip() == stored.strip()


def test_directives_take_the_place_of_what_would_be_written_otherwise():
    one = environment(z.BatchSystem.SLURM)
    assert "--mem=477G" in job_script(spec(one))
    own = replace(one, directives=("--mem-per-cpu=4G",))
    assert "--mem=" not in job_script(spec(own))
    assert "#SBATCH --mem-per-cpu=4G" in job_script(spec(own))


HOSTILE = (
    "a b",
    "$(touch CAUGHT)",
    "`touch CAUGHT`",
    "x;touch CAUGHT",
    "'; touch CAUGHT",
    '"',
)
"""Parts of paths that a shell would take for something else."""


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_are_single_words_to_the_shell(name, tmp_path):
    from distributed import Security

    place = tmp_path / name
    place.mkdir()
    shown = tmp_path / "shown"
    python = place / "python"  # it shows its arguments
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {shown}\n')
    python.chmod(0o755)
    key = str(place / "key.pem")
    security = Security(tls_ca_file=key, tls_worker_cert=key, tls_worker_key=key)
    one = replace(environment(z.BatchSystem.SLURM), prologue=())
    options = {"worker_extra_args": [f"--lifetime {shlex.quote(name)}"]}
    hostile = spec(
        replace(one, options=z.Options.of(options)),
        local_directory=str(place / "scratch"),
        python=str(python),
    )
    text = job_script(hostile, security)
    subprocess.run(["bash", "-c", text], cwd=tmp_path, check=True)
    words = shown.read_text().splitlines()
    assert {str(place / "scratch"), key, name} <= set(words)
    assert words.count(key) == 3
    assert not (tmp_path / "CAUGHT").exists()


def test_variables_alone_mean_something_in_options():
    options = {"local_directory": "$TMPDIR/$(id)/${USER}"}
    one = replace(environment(z.BatchSystem.SLURM), options=z.Options.of(options))
    assert '--local-directory "$TMPDIR/\\$(id)/${USER}" ' in job_script(spec(one))


@pytest.mark.parametrize("batch", z.BatchSystem, ids=lambda one: one.value)
@pytest.mark.parametrize("bad", ["a\nrm -r /", "a\r", "a\x1b[2J", "a\u2028b", "a b"])
def test_no_name_becomes_a_line_of_a_job_script(batch, bad):
    one = environment(batch)
    for changes in (
        {"account": bad},
        {"scheduler_host": bad},
        {"interface": bad},
        {"queues": (z.Queue(name=bad),)},
        {"architectures": (replace(one.architectures[0], name=bad),)},
    ):
        (problem,) = check_environment(replace(one, **changes))
        assert repr(bad) in problem.message
    if bad != "a b":
        for changes in (
            {"directives": (bad,)},
            {"prologue": (bad,)},
            {"options": z.Options.of({"shebang": bad})},
            {"options": z.Options.of({"worker_extra_args": ["--lifetime", bad]})},
        ):
            (problem,) = check_environment(replace(one, **changes))
            assert repr(bad) in problem.message
    for changes in ({"queue": bad}, {"log_directory": f"/logs/{bad}"}):
        with pytest.raises(z.ClusterError, match="blanks or control characters"):
            job_script(spec(one, **changes))


def test_certificates_are_given_by_the_paths_of_their_files(tmp_path):
    from distributed import Security

    paths = {
        key: str(tmp_path / f"{key}.pem")
        for key in ("tls_ca_file", "tls_worker_cert", "tls_worker_key")
    }
    text = job_script(
        spec(environment(z.BatchSystem.SLURM)),
        Security(require_encryption=True, **paths),
    )
    assert f"--tls-ca-file {paths['tls_ca_file']}" in text
    assert f"--tls-key {paths['tls_worker_key']}" in text


def test_processes_share_a_node():
    text = job_script(spec(environment(z.BatchSystem.SLURM), processes=4))
    assert "--nthreads 32 --memory-limit 119.21GiB --nworkers 4" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "x"}, "instead of 'queue' write 'queues' beside 'batch'"),
        (
            {"shebng": "x"},
            "jobs of pbs have no option 'shebng'; did you mean 'shebang'",
        ),
        ({"python": {"from_file": "~/x"}}, "job scripts can be read by others"),
        (
            {"shebang": [{"a": {"from_file": "~/x"}}]},
            "job scripts can be read by others",
        ),
        (
            {"worker_extra_args": 3},
            "pbs:PBSJob of dask-jobqueue does not take the options: TypeError",
        ),
    ],
    ids=["ours", "unknown", "secret", "deep-secret", "wrong-kind"],
)
def test_options_that_jobs_do_not_take_are_refused(options, words):
    one = replace(environment(z.BatchSystem.PBS), options=z.Options.of(options))
    assert [words in problem.message for problem in check_jobs(one)] == [True]


def test_lines_of_htcondor_have_a_name_and_a_value():
    one = replace(environment(z.BatchSystem.HTCONDOR), directives=("--fast",))
    assert "'--fast' is not a line of HTCondor" in check_jobs(one)[0].message


@pytest.mark.parametrize(
    "file", sorted(CLUSTERS.glob("*.yaml")), ids=lambda one: one.stem
)
def test_the_ready_cluster_files_are_sound(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(ziggy, ["cluster", "check", str(file)])
    assert done.exit_code == 0, done.exception
    assert done.output.endswith(f"{file} is sound\n")
    for (environment, architecture), text in z.check_cluster(file).items():
        assert f"--- {environment}, {architecture}\n{text.rstrip()}" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_ready_file_gives_each_sort_of_node_what_nasa_wants():
    scripts = z.check_cluster(CLUSTERS / "pbs.yaml")
    assert len(scripts) == 6
    text = scripts["hecc", "rom_ait"]
    assert "#PBS -l select=1:model=rom_ait\n" in text
    assert text.count("select=") == 1
    assert "#PBS -q low\n" in text
    assert "#PBS -l walltime=4:00:00\n" in text


def test_what_job_classes_refuse_is_told_with_its_line(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(
        "cluster: a\nenvironments:\n  b:\n    batch: slurm\n"
        "    architectures: {n: {cores: 1, memory: 1GB}}\n"
        "    options:\n      job_mm: 3GB\n"
    )
    with pytest.raises(
        z.DefinitionError, match="yaml:7: .*'job_mm'; did you mean 'job_mem'"
    ):
        z.check_cluster(file)
