"""What docs/serving.md shows works, and it leaves nothing out."""

import contextlib
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from maskkv.server.requests import AnswerRequest
from maskkv.server.settings import ServerSettings
from tests.server.live import PATIENCE_S

DOCUMENT = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("script", [each for each in blocks("sh") if each.startswith("curl")])
def test_curl_examples(live, script):
    done = subprocess.run(
        ["bash", "-euc", script.replace(ADDRESS, live.url)],
        capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, "MASKKV_API_KEY": "any"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_example_prints_what_is_shown(live):
    (script,), (shown, *_) = blocks("python"), blocks("text")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        names: dict = {}
        exec(script.replace(ADDRESS, live.url), names)
        names["client"].close()
    assert said.getvalue() == shown


def test_every_field_setting_and_metric_is_described(live):
    counted = re.findall(r"^maskkv_(\w+)", live.http.get("/metrics").text, re.MULTILINE)
    metrics = {name for name in counted if not name.endswith(("_bucket", "_count", "_sum", "_created"))}
    for name in {*AnswerRequest.model_fields, *ServerSettings.model_fields, *metrics}:
        assert f"`{name}`" in DOCUMENT, name


def test_the_unit_and_the_image_wait_longer_than_the_server_drains():
    root = Path(__file__).parents[2]
    drain = ServerSettings.model_fields["drain_timeout"].default + 5
    unit = (root / "deploy" / "maskkv.service").read_text(encoding="utf-8")
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1]) > drain
    assert int(re.search(r"--stop-timeout (\d+)", DOCUMENT)[1]) > drain
