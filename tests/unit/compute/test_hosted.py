"""Compute environments that others host, checked against their own classes, offline."""

import pytest

import ziggy_dask as z

CLOUDS = {
    "ec2": "{region: us-west-2, instance_type: m6i.xlarge, n_workers: 1}",
    "fargate": "{image: 'registry/mission:1', worker_cpu: 1024, vpc: vpc-1}",
    "ecs": "{cluster_arn: arn, worker_gpu: 1, tags: {mission: tess}}",
    "digitalocean": "{size: s-2vcpu-4gb, env_vars: {KEY: {from_environment: NOT_SET}}}",
    "hetzner": "{server_type: cx22, env_vars: {A: {from_file: /no}}}",
}


def check(tmp_path, compute: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(f"cluster: a\ncompute:\n  {compute}\n")
    z.check_cluster(file)


@pytest.mark.parametrize("provider", CLOUDS)
def test_options_of_clouds_are_those_of_their_classes(tmp_path, provider):
    cloud = f"cloud: {{provider: {provider}, workers: 2, options: "
    check(tmp_path, f"{cloud}{CLOUDS[provider]}}}")
    with pytest.raises(z.DefinitionError, match="'securty'; did you mean 'security'"):
        check(tmp_path, f"{cloud}{{securty: true}}}}")


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            "kubernetes: {image: i, options: {quite: 1}}",
            "'quite'; did you mean 'quiet'",
        ),
        ("class: {name: 'distributed:SpecCluster', options: {work: 1}}", "'work'"),
        ("class: {name: 'nowhere:Cluster'}", "nowhere:Cluster can't be imported"),
        ("cloud: {provider: azure}", r"pip install 'dask-cloudprovider\[azure\]'"),
    ],
)
def test_what_a_class_does_not_take_is_refused(tmp_path, compute, message):
    with pytest.raises(z.DefinitionError, match=message):
        check(tmp_path, compute)
