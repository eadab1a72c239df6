"""`maskkv serve --replicas` before a Ray is there: what is refused, and what is not imported."""

import os
import socket
import subprocess
import sys

import pytest

from maskkv.cli import main
from maskkv.cluster import local
from maskkv.cluster.reaching import check_reachable
from maskkv.errors import InputError

WITHOUT = """
import sys
import maskkv.cli.serve, maskkv.server.run, maskkv.cluster.run, maskkv.cluster.site, maskkv.cluster.front
sys.exit("ray" in sys.modules)
"""
HELP = """
import sys
import maskkv
from maskkv.cli import main
assert main(sys.argv[1:]) == 0
sys.exit(any(name.partition(".")[0] == "ray" for name in sys.modules))
"""


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["eval", "--help"]], ids=" ".join)
def test_no_help_imports_ray(words):
    ran = subprocess.run([sys.executable, "-c", HELP, *words], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def no_ray(monkeypatch):
    """Have Ray's import do nothing, and the environment be as it was afterwards."""
    monkeypatch.setitem(sys.modules, "ray", None)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_keys_are_not_left_to_the_processes_that_ray_starts(no_ray, monkeypatch):
    for name in ("MASKKV_API_KEY", "maskkv_api_keys"):
        monkeypatch.setenv(name, "secret-key")
    monkeypatch.setenv("MASKKV_MAX_BATCH", "3")
    with pytest.raises(InputError, match="ray is not installed"):
        local.connect(None)
    assert "secret-key" not in os.environ.values()
    assert os.environ["MASKKV_MAX_BATCH"] == "3"


@pytest.mark.parametrize("address", ["local", "ray://127.0.0.1:10001", "127.0.0.1", "127.0.0.1:port", ""])
def test_what_is_no_address_of_a_cluster_is_refused(address):
    with pytest.raises(InputError, match=r"^--ray-address .*: expected HOST:PORT or auto$"):
        local.connect(address)


def test_an_address_that_nobody_listens_at_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InputError, match=f"^no Ray cluster at 127.0.0.1:{port}: .*refused"):
        check_reachable(f"127.0.0.1:{port}")


def test_ray_is_imported_by_nothing_that_does_not_need_it():
    assert subprocess.run([sys.executable, "-c", WITHOUT], check=False).returncode == 0


def test_a_missing_ray_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^ray is not installed: pip install 'maskkv\[ray\]' brings it$"):
        local.connect("127.0.0.1:6379")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--ray-address", "auto"], "--ray-address says where --replicas run: give their number too"),
        (["--replicas", "3-2"], "replicas '3-2': expected a number from 1 to 1,024, or a range"),
        (["--replicas", "2", "--host", "0.0.0.0"], "host 0.0.0.0 can be reached from other machines, and no API key"),
        (["--replicas", "2", "--device", "cuda:1"], "device cuda:1: Ray chooses it"),
        (["--replicas", "2", "--tensor-parallel", "0"], "tensor_parallel must be a whole number from 1 to 64, not 0"),
        (["--replicas", "2", "--policy", "os"], "unknown policy 'os'"),
        (["--replicas", "2", "--api-key-file", "/nowhere"], "cannot read the API keys in /nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(capsys, flags, says):
    assert main(["serve", "--port", "0", *flags]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert says in said[0]
