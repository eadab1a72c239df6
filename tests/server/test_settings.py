"""Settings come from flags and variables, and nothing opens the server to others by accident."""

import socket

import pytest

from maskkv.errors import InputError
from maskkv.server.run import listen
from maskkv.server.settings import ServerSettings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_other_machines_get_in_with_a_key_only(host, monkeypatch):
    with pytest.raises(InputError, match="no API key is set: set MASKKV_API_KEY or --api-key-file"):
        ServerSettings.read({"host": host})
    monkeypatch.setenv("MASKKV_API_KEY", "  ")
    with pytest.raises(InputError, match="no API key is set"):
        ServerSettings.read({"host": host})
    monkeypatch.setenv("MASKKV_API_KEY", "secret")
    settings = ServerSettings.read({"host": host})
    assert settings.accepted_keys() == (b"secret",)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_needs_no_key(host):
    assert ServerSettings.read({"host": host}).accepted_keys() == ()


def test_flags_go_before_variables(monkeypatch):
    monkeypatch.setenv("MASKKV_MAX_QUEUE", "5")
    monkeypatch.setenv("MASKKV_TIMEOUT", "7")
    settings = ServerSettings.read({"timeout": 9.0})
    assert (settings.max_queue, settings.timeout) == (5, 9.0)


@pytest.mark.parametrize("given", [{"port": 70000}, {"max_batch": 0}, {"timeout": float("nan")}, {"memory": 0}])
def test_values_out_of_range_are_refused(given):
    with pytest.raises(InputError, match=next(iter(given)).replace("_", " ")):
        ServerSettings.read(given)


def test_a_budget_may_be_a_part_of_the_prompt(monkeypatch):
    monkeypatch.setenv("MASKKV_BUDGET", "5%")
    assert ServerSettings.read({}).budget == "5%"
    assert ServerSettings.read({"budget": "64"}).budget == 64
    with pytest.raises(InputError, match=r"^budget 0: expected at least 1 pair per KV head and layer$"):
        ServerSettings.read({"budget": "0"})


def test_what_becomes_of_evicted_pairs(monkeypatch):
    assert ServerSettings.read({}).evicted == "drop"
    monkeypatch.setenv("MASKKV_EVICTED", "host")
    assert ServerSettings.read({}).evicted == "host"
    with pytest.raises(InputError, match=r"^evicted: Input should be 'drop', 'host' or 'device'$"):
        ServerSettings.read({"evicted": "disk"})


def test_keys_in_a_file(tmp_path):
    file = tmp_path / "keys"
    with pytest.raises(InputError, match="cannot read the API keys"):
        ServerSettings.read({"host": "0.0.0.0", "api_key_file": file})
    file.write_text("# of the team\n\n")
    with pytest.raises(InputError, match="holds no API key"):
        ServerSettings.read({"host": "0.0.0.0", "api_key_file": file})
    file.write_text("# of the team\none\n two \n")
    assert ServerSettings.read({"api_key_file": file}).accepted_keys() == (b"one", b"two")


def test_an_address_that_is_taken_is_named_with_what_would_help():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = f"cannot listen on 127.0.0.1, port {port}: .+; try another --port .0 takes a free one. or --host"
        with pytest.raises(InputError, match=said) as refusal:
            listen(ServerSettings(port=port))
    assert "\n" not in str(refusal.value)
