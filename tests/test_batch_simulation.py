"""The model of a farm against what can be counted by hand, and the pages that describe clusters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from threestudio_like.runs.batch.simulation import Farm, simulate

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = ROOT / "examples" / "kuberay"

simpy = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("simpy"), reason="simpy is not installed"
)


@simpy
def test_equal_items_take_what_they_take_by_hand():
    one = simulate(Farm(workers=1, seconds=[3.0], load=[5.0], start=2.0), 10)
    assert (one.made, one.loads) == (10, 1)
    assert one.seconds == pytest.approx(2 + 5 + 30)
    two = simulate(Farm(workers=2, seconds=[3.0], load=[5.0], start=2.0), 10)
    assert two.seconds == pytest.approx(2 + 5 + 15)
    assert two.used(2) == pytest.approx(30 / (2 * 22))


@simpy
def test_a_driver_that_takes_time_is_the_limit():
    slow = simulate(Farm(workers=100, seconds=[1.0], driver=0.1), 500)
    assert slow.seconds == pytest.approx(500 * 0.1 + 1.0, rel=0.02)


@simpy
def test_priors_are_loaded_about_once_a_worker():
    farm = simulate(Farm(workers=4, seconds=[1.0], load=[10.0], affinities=4), 400)
    assert 4 <= farm.loads <= 8


@simpy
def test_what_is_lost_is_made_again_and_every_item_is_settled_once():
    farm = Farm(workers=8, seconds=[50.0, 100.0], lost=500.0, start=30.0, retries=50)
    outlook = simulate(farm, 300)
    assert (outlook.made, outlook.aside) == (300, 0)
    assert outlook.wasted > 0
    calm = simulate(Farm(workers=8, seconds=[50.0, 100.0]), 300)
    assert outlook.seconds > calm.seconds
    bad = simulate(Farm(workers=4, seconds=[1.0], failing=0.5, retries=1), 400)
    assert bad.made + bad.aside == 400
    assert bad.aside == pytest.approx(100, abs=40)


# Fields of the custom resources of KubeRay (ray.io/v1) and of Kubernetes that the examples use:
# name -> the fields that may stand there, and whether they have to.
POD = {"metadata": False, "spec": True}
POD_SPEC = {
    **dict.fromkeys(("containers",), True),
    **dict.fromkeys(
        ("volumes", "nodeSelector", "tolerations", "serviceAccountName", "restartPolicy"), False
    ),
}
CONTAINER = {
    **dict.fromkeys(("name", "image"), True),
    **dict.fromkeys(("resources", "env", "envFrom", "volumeMounts", "command", "args"), False),
}
HEAD = {"rayStartParams": True, "template": True, "serviceType": False}
WORKERS = {
    **dict.fromkeys(("groupName", "replicas", "rayStartParams", "template"), True),
    **dict.fromkeys(("minReplicas", "maxReplicas", "idleTimeoutSeconds"), False),
}
RAY_SPEC = {
    **dict.fromkeys(("headGroupSpec", "workerGroupSpecs"), True),
    **dict.fromkeys(("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions"), False),
}
JOB_SPEC = {
    **dict.fromkeys(("entrypoint", "rayClusterSpec"), True),
    **dict.fromkeys(
        (
            *("shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "runtimeEnvYAML"),
            *("submissionMode", "backoffLimit", "entrypointNumCpus"),
        ),
        False,
    ),
}


def fits(content: dict, fields: dict[str, bool], where: str) -> None:
    assert isinstance(content, dict), where
    assert not content.keys() - fields.keys(), f"{where}: {content.keys() - fields.keys()}"
    missing = {name for name, needed in fields.items() if needed} - content.keys()
    assert not missing, f"{where}: {missing}"


def check_pod(template: dict, where: str) -> None:
    fits(template, POD, where)
    fits(template["spec"], POD_SPEC, f"{where}.spec")
    for container in template["spec"]["containers"]:
        fits(container, CONTAINER, f"{where}.containers")
        for kind in ("limits", "requests"):
            for name, amount in container.get("resources", {}).get(kind, {}).items():
                assert name in ("cpu", "memory", "nvidia.com/gpu", "ephemeral-storage")
                assert re.fullmatch(r"\d+(\.\d+)?(m|Mi|Gi|Ti)?", str(amount)), amount


def check_cluster(spec: dict) -> None:
    fits(spec, RAY_SPEC, "cluster")
    fits(spec["headGroupSpec"], HEAD, "head")
    check_pod(spec["headGroupSpec"]["template"], "head")
    for group in spec["workerGroupSpecs"]:
        fits(group, WORKERS, "workers")
        assert group.get("minReplicas", 0) <= group["replicas"] <= group.get("maxReplicas", 10**9)
        check_pod(group["template"], "workers")
        # Ray takes texts alone.
        assert all(isinstance(v, str) for v in group["rayStartParams"].values())


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.yaml")), ids=lambda p: p.name)
def test_manifests_of_clusters_have_the_fields_of_their_kinds(path):
    for content in yaml.safe_load_all(path.read_text()):
        assert content["metadata"]["name"]
        if content["kind"] == "RayCluster":
            assert content["apiVersion"] == "ray.io/v1"
            check_cluster(content["spec"])
        elif content["kind"] == "RayJob":
            assert content["apiVersion"] == "ray.io/v1"
            fits(content["spec"], JOB_SPEC, "job")
            check_cluster(content["spec"]["rayClusterSpec"])
            assert content["spec"]["entrypoint"].startswith("threestudio-like batch")
        else:
            assert (content["apiVersion"], content["kind"]) in (
                ("v1", "Secret"),
                ("v1", "ConfigMap"),
            )


def test_a_manifest_with_a_field_that_is_none_is_noticed():
    content = next(yaml.safe_load_all((CLUSTER / "cluster.yaml").read_text()))
    content["spec"]["workerGroupSpecs"][0]["replica"] = 2
    with pytest.raises(AssertionError, match="replica"):
        check_cluster(content["spec"])


def test_the_example_manifests_are_read(tmp_path, monkeypatch):
    from .batches import batch

    monkeypatch.chdir(tmp_path)
    for path in sorted((ROOT / "examples" / "batches").iterdir()):
        assert batch(path, "--dry-run") == 0, path
    assert not list(tmp_path.iterdir())
