"""`deploy/kubernetes.yaml` says what the server understands: no cluster checks that before it is applied."""

import re
from pathlib import Path

import pytest
import typer

from maskkv.cli import app
from maskkv.server.settings import ServerSettings
from maskkv.server.streaming import LAST_WORDS_S

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kinds():
    parts = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text(encoding="utf-8")))
    return {part["kind"]: part for part in parts}


@pytest.fixture(scope="module")
def pod(kinds):
    return kinds["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def variables(container):
    return {each["name"]: each["value"] for each in container["env"]}


def test_there_is_all_that_a_service_needs(kinds):
    assert set(kinds) == {"Deployment", "Service", "PersistentVolumeClaim", "PodDisruptionBudget"}


def test_all_parts_mean_the_same_pods(kinds):
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_flags_are_those_of_serve(container):
    typer.main.get_command(app).commands["serve"].make_context("serve", list(container["args"]))


def settings(variables, tmp_path):
    (tmp_path / "keys").write_text("secret", encoding="utf-8")
    ours = {name: value for name, value in variables.items() if name.startswith("MASKKV_")}
    given = {name.removeprefix("MASKKV_").lower(): value for name, value in ours.items()}
    return ServerSettings.read({**given, "api_key_file": tmp_path / "keys"})


def test_variables_are_those_of_the_server(variables, tmp_path):
    read = settings(variables, tmp_path)
    assert read.accepted_keys() == (b"secret",)
    assert not read.local


def test_ports_agree(kinds, container, variables, tmp_path):
    (port,) = container["ports"]
    assert port["containerPort"] == settings(variables, tmp_path).port
    (served,) = kinds["Service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_ask_an_address_that_needs_no_key(container, probe):
    from maskkv.server.guard import _OPEN
    from maskkv.server.routes import router

    asked = container[probe]["httpGet"]
    assert asked["port"] == container["ports"][0]["name"]
    assert asked["path"] in _OPEN
    assert asked["path"] in {route.path for route in router.routes}


def test_a_pod_that_is_busy_is_not_killed(container):
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] >= 60 > ready["periodSeconds"]


def test_there_is_time_to_drain(pod, container, variables, tmp_path):
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    drained = int(command[1]) + settings(variables, tmp_path).drain_timeout + LAST_WORDS_S
    assert drained < pod["terminationGracePeriodSeconds"]
    # Long enough for the readiness of a pod that is to end to be known everywhere.
    assert int(command[1]) >= container["readinessProbe"]["periodSeconds"]


def test_keys_come_from_a_secret_and_the_cache_from_a_volume(kinds, pod, container, variables):
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert set(mounts) == set(volumes)
    assert Path(variables["MASKKV_API_KEY_FILE"]).is_relative_to(mounts["keys"])
    assert "secret" in volumes["keys"]
    assert Path(variables["HF_HOME"]).is_relative_to(mounts["cache"])
    claim = volumes["cache"]["persistentVolumeClaim"]["claimName"]
    assert claim == kinds["PersistentVolumeClaim"]["metadata"]["name"]
    assert variables["HOME"] == mounts["scratch"], "the root file system is read-only"


def test_nobody_is_root(pod, container):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    (user,) = re.findall(r"--uid (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert pod["securityContext"]["runAsUser"] == int(user), "the image's own user"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
