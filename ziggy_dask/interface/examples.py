"""Examples of every command, for its help and for the reference of the docs."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "init": (
        ("ziggy init my-mission", "ask two questions"),
        ("ziggy init my-mission --data netcdf --unit orbit --yes", "ask nothing"),
    ),
    "status": (
        ("ziggy status", "how everything stands"),
        ("ziggy status --watch", "look every second, to Ctrl-C"),
        ("ziggy status --json", "the same for a script"),
    ),
    "completion": (
        ('eval "$(ziggy completion bash)"', "in ~/.bashrc; zsh likewise"),
        ("ziggy completion fish | source", "in config.fish"),
    ),
    "cluster init": (("ziggy cluster init cluster.yaml", "make it, or upgrade it"),),
    "cluster check": (("ziggy cluster check cluster.yaml", "only look at the file"),),
    "cluster start": (
        ("ziggy cluster start", "a supervisor in the background"),
        ("ziggy cluster start --standby", "one that takes over when that one ends"),
    ),
    "cluster stop": (("ziggy cluster stop", "what runs is resumed later"),),
    "cluster serve": (("ziggy --cluster cluster.yaml cluster serve", "for systemd"),),
    "cluster status": (("ziggy cluster status", "where things are"),),
    "cluster environments": (
        ("ziggy cluster environments sites.xml", "what goes into a cluster file"),
    ),
    "jobs": (("ziggy jobs 2", "the jobs of instance 2 on batch systems"),),
    "estimate": (
        ("ziggy estimate sample --node flip", "as planned now"),
        ("ziggy estimate sample --node flip --subtasks 5000 --memory 10GB", "if"),
    ),
    "import": (
        ("ziggy import pipeline", "check and register the definition in a directory"),
        ("ziggy import pipeline --dry-run", "only check it"),
        ("ziggy import pt-sample.xml pd-sample.xml", "definitions of the original"),
    ),
    "update": (("ziggy update pd-sample.xml", "replace what is there"),),
    "export": (
        ("ziggy export sample", "print its YAML"),
        ("ziggy export sample --format xml -o sample.xml", "for the original"),
    ),
    "pipelines": (("ziggy pipelines", "what is registered"),),
    "parameters": (
        ("ziggy parameters sample", "all values"),
        ("ziggy parameters sample --set 'Calibration.bias=90'", "change one for good"),
        ("ziggy parameters sample -o sets.yaml", "write them to a file"),
    ),
    "schema": (
        ("ziggy schema pipeline > pipeline.schema.json", "for an editor"),
        ("ziggy schema cluster", "of cluster files"),
    ),
    "manifest": (
        ("ziggy manifest incoming/night-3 --dataset-id 3", "before delivery"),
    ),
    "receive": (
        ("ziggy receive incoming", "take in deliveries that have manifests"),
        ("ziggy receive data --no-manifest", "take files as they are"),
    ),
    "deliveries": (("ziggy deliveries", "what was taken in"),),
    "models": (("ziggy models", "all versions of all models"),),
    "plan": (
        ("ziggy plan sample", "what a run would do"),
        ("ziggy plan sample --where night=night-2 --subtasks", "a part, in full"),
    ),
    "graph": (("ziggy graph sample -o graph.svg", "draw it"),),
    "run": (
        ("ziggy run sample", "run it, and wait"),
        ("ziggy run sample --set 'Calibration.bias=90'", "with another value, once"),
        ("ziggy run sample --process new --detach", "what is new, in the background"),
        ("ziggy run --continue", "go on after a crash"),
    ),
    "instances": (("ziggy instances", "all runs"),),
    "tasks": (
        ("ziggy tasks 2", "the tasks of instance 2"),
        ("ziggy tasks 2 --watch", "until it has ended"),
    ),
    "subtasks": (("ziggy subtasks 3 --json", "the subtasks of task 3, for a script"),),
    "logs": (
        ("ziggy logs 3 --errors", "tracebacks of what failed in task 3"),
        ("ziggy logs 3 --follow", "as subtasks end"),
        ("ziggy logs --instance 2 --errors", "of all tasks of an instance"),
        ("ziggy logs 3 --item EPIC201367065", "of the subtask with this item"),
        ("ziggy logs 3 --subtask 4 --worker", "what else its worker wrote"),
    ),
    "stats": (
        ("ziggy stats 2", "times and memory by node"),
        ("ziggy stats 2 --breakdown", "where the time went"),
    ),
    "report": (("ziggy report 2 -o report.html", "one file to send around"),),
    "why": (
        ("ziggy why set-1/L1", "who made a product, and with which code"),
        ("ziggy why set-1/L1 --where image=3", "who made one item of it"),
    ),
    "history": (("ziggy history set-1/L1", "its versions, and why each was made"),),
    "lineage": (
        ("ziggy lineage set-1/L3", "what it was made of"),
        ("ziggy lineage set-1/L0 --down", "what was made of it"),
        ("ziggy lineage set-1/L3 --at dr1", "as it was under a tag"),
    ),
    "which": (
        ("ziggy which model flat@flat-7.txt", "what a version of a model went into"),
        ("ziggy which parameter Calibration.bias=90", "what was made with a value"),
        ("ziggy which package 'scipy<1.15'", "what was made with old packages"),
        ("ziggy which delivery 4 --now", "what a delivery is in, as of now"),
        ("ziggy which file night-1/frames/frame-2.png", "what a file is in"),
    ),
    "diff": (
        ("ziggy diff 3 5", "what instances 3 and 5 left, and what differs"),
        ("ziggy diff dr1 dr2 night-1/levels", "one product, between two releases"),
        ("ziggy diff 3 5 --no-values", "only what was run"),
    ),
    "tag": (
        ("ziggy tag 3 dr1 --note 'first release'", "as instance 3 left it"),
        ("ziggy tag 5 newest --move", "let a name go on"),
    ),
    "tags": (("ziggy tags", "all names"),),
    "untag": (("ziggy untag newest", "the state itself stays"),),
    "code show": (
        ("ziggy code show 2", "the files of the code of instance 2"),
        ("ziggy code show 2 algorithms.py", "one of them, as it ran"),
    ),
    "code checkout": (("ziggy code checkout 2 old-code", "all of them, anew"),),
    "events": (
        ("ziggy events", "handlers, and what they started"),
        ("ziggy events --watch", "as they come, to Ctrl-C"),
    ),
    "event fire": (
        ("ziggy event fire downlink --label gazelle", "as if its files were there"),
    ),
    "event enable": (("ziggy event enable downlink", "follow it again"),),
    "event disable": (("ziggy event disable downlink", "pass over it for now"),),
    "failures": (("ziggy failures 2", "what failed, by cause"),),
    "restart": (
        ("ziggy restart 3,4,7-10", "these tasks"),
        ("ziggy restart --instance 2", "all that failed of an instance"),
        ("ziggy restart --cause 5f0c3a91", "failures of one kind"),
    ),
    "halt": (
        ("ziggy halt 3,4", "these tasks"),
        ("ziggy halt --instance 2", "all of an instance"),
    ),
    "alerts": (
        ("ziggy alerts", "what operators should know"),
        ("ziggy alerts --acknowledge 3,7-10", "these have been seen"),
    ),
    "console": (("ziggy console", "the page in a browser"),),
    "debug": (("ziggy debug 3 --subtask 1", "stop where it fails"),),
    "doctor": (("ziggy doctor --fix", "fix what can be fixed"),),
    "reproduce": (
        ("ziggy reproduce 3", "all tasks of instance 3"),
        ("ziggy reproduce 3 --product night-1/levels", "those that make one product"),
    ),
    "export-crate": (
        ("ziggy export-crate 3", "into crate-3, without the products"),
        ("ziggy export-crate 3 release --data --license CC-BY-4.0", "with them"),
    ),
    "export-prov": (("ziggy export-prov 3", "into prov-3.json"),),
    "export-stac": (
        ("ziggy export-stac archive", "all products, where they are"),
        ("ziggy export-stac archive --at dr1 --data", "those of a release, with them"),
    ),
    "export-datacite": (
        (
            'ziggy export-datacite dr1 --creator "Doe, Jo" --publisher "Our institute"',
            "into datacite-dr1.json",
        ),
    ),
    "expire": (
        ("ziggy expire --dry-run", "what would expire, and the bytes by data type"),
        ("ziggy expire", "give it up"),
    ),
    "datastore rm": (
        ("ziggy datastore rm night-1/levels --dry-run", "only look"),
        ("ziggy datastore rm night-1/levels", "until it expires, --at shows it"),
    ),
    "instances rm": (("ziggy instances rm 4", "that of a delivery that was refused"),),
    "verify": (
        ("ziggy verify night-1/levels", "one product"),
        ("ziggy verify --all --at dr1", "all of a release, and the history"),
    ),
    "backup": (("ziggy backup records.zip", "all records in one file"),),
    "restore": (("ziggy restore records.zip", "into a new database"),),
    "datastore ls": (
        ("ziggy datastore ls --at 2", "products as instance 2 left them"),
    ),
    "datastore cat": (
        ("ziggy datastore cat night-1/plots/a.png", "to a pipe or file"),
    ),
    "datastore export": (("ziggy datastore export out night-1/levels", "as NetCDF"),),
    "datastore show": (("ziggy datastore show night-1/levels", "as xarray shows it"),),
    "datastore history": (("ziggy datastore history", "all publications"),),
}
"""Command lines, each with what it is for, by command."""


def examples_text(command: str) -> str:
    """Return the examples of a command as its help shows them; empty: it has none."""
    found = EXAMPLES.get(command, ())
    width = max((len(line) for line, _ in found), default=0)
    lines = [f"  {line:<{width}}  {meaning}" for line, meaning in found]
    return "\b\nExamples:\n" + "\n".join(lines) if lines else ""
