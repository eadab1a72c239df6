"""`maskkv serve --replicas` before a Ray is there: what is refused, and what is not imported."""

import subprocess
import sys

import pytest

from maskkv.cli import main
from maskkv.cluster import local
from maskkv.errors import InputError

WITHOUT = """
import sys
import maskkv.cli.serve, maskkv.server.run, maskkv.cluster.run, maskkv.cluster.site, maskkv.cluster.front
sys.exit("ray" in sys.modules)
"""


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
        (["--replicas", "2", "--policy", "os"], "unknown policy 'os'"),
        (["--replicas", "2", "--api-key-file", "/nowhere"], "cannot read the API keys in /nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(capsys, flags, says):
    assert main(["serve", "--port", "0", *flags]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert says in said[0]
