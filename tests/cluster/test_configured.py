"""The config file, and what it may say: read without Ray, and (slow) deployed on two hosts."""

from pathlib import Path

import pytest
import yaml

from maskkv.cluster.site import Served
from maskkv.cluster.spelling import Replicas
from maskkv.errors import InputError
from maskkv.loading import Loading
from maskkv.server.guard import digests
from maskkv.server.settings import ServerSettings

FILE = Path(__file__).parents[2] / "deploy" / "ray-serve.yaml"


@pytest.fixture
def args(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("secret-key\n")
    (application,) = yaml.safe_load(FILE.read_text(encoding="utf-8"))["applications"]
    assert application["import_path"] == "maskkv.cluster.configured:build"
    return {**application["args"], "api_key_file": str(keys)}


def test_the_file_that_is_shipped_says_what_is_served(args):
    served = Served.read(args)
    assert served.loading == Loading(model="GSAI-ML/LLaDA-8B-Instruct")
    assert served.replicas == Replicas(2, 8)
    assert (served.settings.budget, served.settings.max_batch, served.settings.drain_timeout) == (256, 16, 60)
    assert served.name == "GSAI-ML/LLaDA-8B-Instruct"


def test_a_front_that_is_to_go_outlives_every_answer_that_it_passes_on(args):
    served = Served.read({**args, "timeout": 300, "drain_timeout": 60})
    assert served.drain_s > 60
    # The replica that it asks may be told to go when the answer's time is nearly over.
    assert served.longest_s > 300 + served.drain_s


def test_keys_travel_as_digests_alone(args):
    served = Served.read(args)
    assert served.digests == digests([b"secret-key"])
    assert served.settings.accepted_keys() == ()
    assert "secret-key" not in repr(served)
    given = ServerSettings(api_key="secret-key", host="0.0.0.0")
    served = Served.of(Loading(), given, Replicas(1, 1))
    assert (served.settings.accepted_keys(), len(served.digests)) == ((), 1)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"api_key_file": None}, "no API key is set"),
        ({"replica": 2}, "unknown argument 'replica': expected some of api_key, "),
        ({"port": 80}, "unknown argument 'port'"),
        ({"replicas": "4-2"}, "replicas '4-2': expected"),
        ({"max_batch": 0}, "max batch: "),
        ({"policy": "os.system"}, "unknown policy"),
        ({"device": "cuda:1"}, "device cuda:1: Ray chooses it"),
        ({"quantize": "int5"}, "int5"),
        ({"tensor_parallel": 0}, "tensor_parallel must be a whole number from 1 to 64, not 0"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(args, changed, says):
    given = {name: value for name, value in {**args, **changed}.items() if value is not None}
    with pytest.raises(InputError, match=f"^[^\n]*{says}[^\n]*$"):
        Served.read(given)


def test_without_keys_only_this_machine_may_be_served(args):
    del args["api_key_file"]
    assert Served.read({**args, "host": "127.0.0.1"}).digests == ()


def test_paths_hold_in_every_folder(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = ServerSettings()
    assert Served.of(Loading(model="model"), settings, Replicas(1, 1)).loading.model == tmp_path / "model"
    assert Served.of(Loading(model="model"), settings, Replicas(1, 1)).name == "model"
    assert Served.of(Loading(model="a/hub-id"), settings, Replicas(1, 1)).loading.model == "a/hub-id"
