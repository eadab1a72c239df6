"""The config file that is shipped, deployed on a Ray with a dashboard, and deployed again while a stream runs."""

import subprocess
import sys

import httpx
import pytest
import yaml

from tests.cluster.nodes import ENVIRONMENT, free_port, node
from tests.cluster.test_configured import FILE
from tests.server.live import LONG, PATIENCE_S, SHORT, events, until

pytestmark = pytest.mark.slow

DEPLOY = [sys.executable, "-c", "from ray.serve.scripts import cli; cli()", "deploy", "--address"]
KEY = {"authorization": "Bearer secret-key"}


def test_the_file_is_deployed_and_an_update_lets_streams_finish(tmp_path, tmp_path_factory):
    (tmp_path / "keys").write_text("secret-key\n")
    config = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
    args = config["applications"][0]["args"]
    del args["model"]
    args |= {"replicas": 1, "budget": 32, "dtype": "bfloat16", "api_key_file": str(tmp_path / "keys")}
    args |= {"drain_timeout": PATIENCE_S}
    dashboard, url = free_port(), f"http://127.0.0.1:{config['http_options']['port']}"
    ports = ("--port", free_port(), "--dashboard-port", dashboard, "--dashboard-agent-listen-port", free_port())
    folder = tmp_path_factory.mktemp("r")

    def deploy():
        (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [*DEPLOY, f"http://127.0.0.1:{dashboard}", str(tmp_path / "serve.yaml")]
        subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True)

    def answered():
        body = {"prompt": "the", "max_tokens": 4}
        try:
            return httpx.post(f"{url}/v1/completions", json=body, headers=KEY, timeout=PATIENCE_S)
        except httpx.TransportError:
            return httpx.Response(599)

    with node("--head", "--include-dashboard", "true", "--temp-dir", str(folder), *map(str, ports)):
        deploy()
        until(lambda: answered().status_code == 200)
        assert httpx.get(f"{url}/v1/models").json()["error"]["code"] == "invalid_api_key"
        first = answered().headers["x-replica"]
        body = {"messages": [{"role": "user", "content": SHORT.content}], **LONG, "stream": True, "diffusing": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, headers=KEY, timeout=PATIENCE_S) as response:
            seen = events(response.iter_lines())
            next(seen)
            args["max_batch"] = 8
            deploy()
            *_, last = seen
        assert last["choices"][0]["finish_reason"] == "stop"
        until(lambda: answered().headers.get("x-replica", first) != first)
