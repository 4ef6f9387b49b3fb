"""What `ray up cluster.yaml` would start on AWS, by Ray's own code on a mocked EC2; and what the roles allow."""

from __future__ import annotations

import functools
import json
import queue
import time
from pathlib import Path
from typing import Any

import boto3
import cfnlint
import cfnlint.decode
import pytest
import yaml
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count
from ray.autoscaler._private.aws import config as bootstrap
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.event_summarizer import EventSummarizer
from ray.autoscaler._private.node_launcher import NodeLauncher
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.prom_metrics import AutoscalerPrometheusMetrics
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import ConcurrentCounter, prepare_config
from ray.core.generated.common_pb2 import PACK  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = (ROOT / "docs" / "clusters" / "aws-account.yaml").read_text()
REGION, BUCKET, MINE = "us-west-2", "my-bucket", "192.0.2.0/24"
GPU_TRIAL = {"CPU": 1, "GPU": 1}


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An AWS account in which the stack of docs/clusters/aws-account.yaml was made."""
    environment = {
        "HOME": str(tmp_path_factory.mktemp("home")),  # Ray makes a key there
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": REGION,
    }
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for key, value in environment.items():
            patch.setenv(key, value)
        patch.setattr(bootstrap.time, "sleep", lambda seconds: None)
        boto3.client("cloudformation").create_stack(
            StackName="study",
            TemplateBody=TEMPLATE,
            Parameters=[
                {"ParameterKey": "Bucket", "ParameterValue": BUCKET},
                {"ParameterKey": "SshFrom", "ParameterValue": MINE},
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        yield


@pytest.fixture(scope="module")
def config(account) -> dict[str, Any]:
    """cluster.yaml as Ray has it before it starts anything: edited, and completed from what the account has."""
    text = (
        (ROOT / "cluster.yaml").read_text().replace("region: EDIT-ME", f"region: {REGION}").replace("EDIT-ME", BUCKET)
    )
    prepared = prepare_config(yaml.safe_load(text))
    completed: dict[str, Any] = AWSNodeProvider.bootstrap_config(prepared)
    return AWSNodeProvider.fillout_available_node_types_resources(completed)


def start(config: dict[str, Any], node_type: str) -> dict[str, Any]:
    """The instance that Ray asks EC2 for."""
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    node_config = dict(config["available_node_types"][node_type]["node_config"])
    created = provider.create_node(node_config, {"ray-user-node-type": node_type}, 1)
    (found,) = boto3.client("ec2").describe_instances(InstanceIds=list(created))["Reservations"]
    return found["Instances"][0]


@pytest.mark.parametrize(
    ("node_type", "instance_type", "lifecycle", "profile"),
    [
        ("head", "m6i.xlarge", None, "autoencoder-study-head"),
        ("gpu_spot", "g6.xlarge", "spot", "autoencoder-study-worker"),
        ("gpu_on_demand", "g6.xlarge", None, "autoencoder-study-worker"),
    ],
)
def test_node_is_started_as_the_file_says(config, node_type, instance_type, lifecycle, profile):
    instance = start(config, node_type)
    assert (instance["InstanceType"], instance.get("InstanceLifecycle")) == (instance_type, lifecycle)
    assert instance["IamInstanceProfile"]["Arn"].endswith(f"/{profile}")
    assert instance["ImageId"].startswith("resolve:ssm:/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu")
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert {"Key": "project", "Value": "autoencoder-study"} in instance["Tags"]
    (volume,) = boto3.client("ec2").describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    )["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Encrypted"]) == (150, "gp3", True)
    assert {"Key": "project", "Value": "autoencoder-study"} in volume["Tags"]


def test_nodes_resources_are_none_for_trials_on_the_head_and_a_gpu_on_each_worker(config):
    resources = {name: node["resources"] for name, node in config["available_node_types"].items()}
    assert resources["head"]["CPU"] == 0 and "GPU" not in resources["head"]
    assert resources["gpu_spot"]["GPU"] == resources["gpu_on_demand"]["GPU"] == 1


def test_security_group_of_every_node_is_closed_but_for_ssh_from_the_users_own_addresses(config):
    instances = [start(config, node_type) for node_type in config["available_node_types"]]
    (group,) = {group["GroupId"] for instance in instances for group in instance["SecurityGroups"]}
    (described,) = boto3.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    inside, outside = sorted(described["IpPermissions"], key=lambda rule: rule["IpProtocol"])
    assert [pair["GroupId"] for pair in inside["UserIdGroupPairs"]] == [group] and not inside["IpRanges"]
    assert (outside["IpProtocol"], outside["FromPort"], outside["ToPort"]) == ("tcp", 22, 22)
    assert [found["CidrIp"] for found in outside["IpRanges"]] == [MINE]


class NoSpot(AWSNodeProvider):
    """EC2 without spot capacity."""

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> Any:
        def refuse(**wanted: Any) -> Any:
            if wanted.get("InstanceMarketOptions", {}).get("MarketType") == "spot":
                error = {"Error": {"Code": "InsufficientInstanceCapacity", "Message": "There is no Spot capacity"}}
                raise ClientError(error, "RunInstances")
            return self.ec2.create_instances(**wanted)

        self.ec2_fail_fast = type("Refusing", (), {"create_instances": staticmethod(refuse)})
        return super().create_node(node_config, tags, count)


def wanted(
    config: dict[str, Any], provider: AWSNodeProvider, tracker: NodeProviderAvailabilityTracker
) -> dict[str, int]:
    """Nodes that Ray's autoscaler would start for three trials that wait for a GPU, by type."""
    types = config["available_node_types"]
    scheduler = ResourceDemandScheduler(provider, types, config["max_workers"], "head", config["upscaling_speed"])
    trial = PlacementGroupTableData(strategy=PACK, state=PlacementGroupTableData.PENDING)
    trial.bundles.add(unit_resources=GPU_TRIAL)
    nodes, _ = scheduler.get_nodes_to_launch(
        nodes=[],
        launching_nodes={},
        resource_demands=[],
        unused_resources_by_ip={},
        pending_placement_groups=[trial] * 3,
        max_resources_by_ip={},
        ensure_min_cluster_size=[],
        node_availability_summary=tracker.summary(),
    )
    return {name: count for name, count in nodes.items() if name != "head"}


@pytest.fixture
def scorer(monkeypatch):
    """The scorer that cluster.yaml names, as the head's shell sets it."""
    command = yaml.safe_load((ROOT / "cluster.yaml").read_text())["head_start_ray_commands"][1]
    setting = next(word for word in command.split() if word.startswith("RAY_AUTOSCALER_UTILIZATION_SCORER="))
    monkeypatch.setenv(*setting.split("="))


def test_waiting_trials_start_spot_nodes_and_on_demand_where_spot_is_not_to_be_had(config, scorer):
    before = {instance.id for instance in boto3.resource("ec2").instances.all()}
    now = [time.time()]
    tracker = NodeProviderAvailabilityTracker(timer=lambda: now[0])
    provider = NoSpot(config["provider"], config["cluster_name"])
    assert wanted(config, provider, tracker) == {"gpu_spot": 3}

    pending = ConcurrentCounter()
    launcher = NodeLauncher(
        provider,
        queue.Queue(),
        pending=pending,
        event_summarizer=EventSummarizer(),
        node_provider_availability_tracker=tracker,
        prom_metrics=AutoscalerPrometheusMetrics(),
        node_types=config["available_node_types"],
        index=0,
    )
    pending.inc("gpu_spot", 3)
    launcher.launch_node(config, 3, "gpu_spot")
    assert not tracker.summary().node_availabilities["gpu_spot"].is_available
    assert wanted(config, provider, tracker) == {"gpu_on_demand": 2, "gpu_spot": 1}

    pending.inc("gpu_on_demand", 2)
    launcher.launch_node(config, 2, "gpu_on_demand")
    started = [one for one in boto3.resource("ec2").instances.all() if one.id not in before]
    assert [(one.instance_type, one.instance_lifecycle) for one in started] == [("g6.xlarge", None)], (
        "Ray asks for at least one and at most two, of which moto starts the least"
    )
    now[0] += 3600
    assert wanted(config, provider, tracker) == {"gpu_spot": 3}, "spot is asked for again after a while"


def statements(document: Any) -> list[dict[str, Any]]:
    """A policy's statements; moto gives some policies as text."""
    parsed: dict[str, Any] = json.loads(document) if isinstance(document, str) else document
    return parsed["Statement"]


def policy(role: str, name: str) -> list[dict[str, Any]]:
    """The statements of one of a role's own policies."""
    return statements(boto3.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])


def allowing(rules: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    """The statements that allow an action, which none of them names by a wildcard that covers more."""
    return [
        rule for rule in rules if action in ([rule["Action"]] if isinstance(rule["Action"], str) else rule["Action"])
    ]


def test_roles_give_workers_the_bucket_alone_and_no_right_to_delete_tables_or_versions(account):
    iam = boto3.client("iam")
    assert iam.list_role_policies(RoleName="autoencoder-study-worker")["PolicyNames"] == ["writes-runs"]
    assert iam.list_attached_role_policies(RoleName="autoencoder-study-worker")["AttachedPolicies"] == []
    rules = policy("autoencoder-study-worker", "writes-runs")
    arn = f"arn:aws:s3:::{BUCKET}"
    assert {rule["Resource"] for rule in rules} == {arn, f"{arn}/*", f"{arn}/*/replicates/*"}
    (deleting,) = allowing(rules, "s3:DeleteObject")
    assert deleting["Resource"] == f"{arn}/*/replicates/*"
    everything = rules + policy("autoencoder-study-head", "tidies-runs")
    assert not allowing(everything, "s3:DeleteObjectVersion") and not allowing(everything, "s3:*")


def test_template_is_valid_and_its_bucket_keeps_what_is_deleted_or_written_over():
    template, problems = cfnlint.decode.decode_str(TEMPLATE)
    assert problems == [] and template is not None
    bucket = template["Resources"]["Runs"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}  # which moto's stacks leave out
    assert list(cfnlint.lint(TEMPLATE, regions=[REGION])) == []


def test_head_may_start_this_clusters_workers_alone_tag_and_end_no_other_machine_and_hand_on_one_role(account):
    rules = policy("autoencoder-study-head", "starts-workers")
    cluster = {"aws:ResourceTag/ray-cluster-name": "autoencoder-study"}
    tagging = [rule["Condition"]["StringEquals"] for rule in allowing(rules, "ec2:CreateTags")]
    assert tagging == [{"ec2:CreateAction": "RunInstances"}, cluster]
    assert [rule["Condition"]["StringEquals"] for rule in allowing(rules, "ec2:TerminateInstances")] == [cluster]
    assert not allowing(rules, "ec2:*") and not allowing(rules, "ec2:StopInstances")

    machines, parts = allowing(rules, "ec2:RunInstances")
    assert machines["Resource"].endswith(":instance/*")
    types = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    wanted = machines["Condition"]["StringEquals"]
    assert wanted["aws:RequestTag/ray-cluster-name"] == "autoencoder-study"
    assert {kind["node_config"]["InstanceType"] for name, kind in types.items() if name != "head"} == {
        wanted["ec2:InstanceType"]  # one, and moto makes no list of it
    }
    assert all("instance/" not in resource and resource != "*" for resource in parts["Resource"])

    (passing,) = allowing(rules, "iam:PassRole")
    role = boto3.client("iam").get_role(RoleName="autoencoder-study-worker")["Role"]["Arn"]
    assert passing["Resource"] == role
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


def keys_of(role: str) -> dict[str, str]:
    """What an instance with this role signs its calls with."""
    arn = boto3.client("iam").get_role(RoleName=role)["Role"]["Arn"]
    keys = boto3.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }


@pytest.fixture
def any_resource(account):
    """The head's role as moto can judge it, which asks for the right to start instances on every resource."""
    rules = policy("autoencoder-study-head", "starts-workers")
    anywhere = [rule | {"Resource": "*"} if rule["Action"] == "ec2:RunInstances" else rule for rule in rules]
    document = {"Version": "2012-10-17", "Statement": anywhere}
    change = functools.partial(
        boto3.client("iam").put_role_policy, RoleName="autoencoder-study-head", PolicyName="starts-workers"
    )
    change(PolicyDocument=json.dumps(document))
    yield
    change(PolicyDocument=json.dumps(document | {"Statement": rules}))


def test_head_role_lets_rays_autoscaler_start_find_and_end_workers_but_make_no_user(config, any_resource):
    keys = keys_of("autoencoder-study-head")

    @set_initial_no_auth_action_count(0)  # type: ignore[untyped-decorator]
    def act() -> None:
        provider = AWSNodeProvider(config["provider"] | {"aws_credentials": keys}, config["cluster_name"])
        node_config = dict(config["available_node_types"]["gpu_spot"]["node_config"])
        created = provider.create_node(node_config, {"ray-user-node-type": "by-the-head"}, 1)
        assert provider.non_terminated_nodes({"ray-user-node-type": "by-the-head"}) == list(created)
        provider.terminate_nodes(list(created))
        with pytest.raises(ClientError, match="AccessDenied"):
            boto3.client("iam", **keys).create_user(UserName="intruder")

    act()


def test_worker_role_may_write_into_the_bucket_and_start_nothing(config):
    keys = keys_of("autoencoder-study-worker")

    @set_initial_no_auth_action_count(0)  # type: ignore[untyped-decorator]
    def act() -> None:
        s3 = boto3.client("s3", **keys)
        for key in ("runs/a/replicates/b/c.safetensors", "runs/a/results.parquet"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"1")
        s3.delete_object(Bucket=BUCKET, Key="runs/a/replicates/b/c.safetensors")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=BUCKET, Key="runs/a/results.parquet")
        with pytest.raises(ClientError, match="AccessDenied"):
            boto3.client("ec2", **keys).run_instances(MinCount=1, MaxCount=1)

    act()
