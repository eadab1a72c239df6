"""A hub that is not there is said to be so at once, and what would help."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from maskkv.checkpoints import folders, weights
from maskkv.errors import CheckpointError


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """Point the hub's library to a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "*")
        huggingface_hub.close_session()
        # What takes seconds to import on a busy machine.
        huggingface_hub.get_session()
        assert huggingface_hub.snapshot_download
        assert huggingface_hub.get_hf_file_metadata
        yield server
        huggingface_hub.close_session()


FIND = pytest.mark.parametrize("find", [folders.resolve, weights.config_of])


@FIND
def test_a_hub_that_never_answers_is_given_up_after_some_seconds(
    find: Callable[[str], object], silent: socket.socket
) -> None:
    start = time.perf_counter()
    with pytest.raises(CheckpointError) as refused:
        find("owner/model")
    # 2 for the answer; what the library asks of its own accord once a process may take 3 more, a busy machine others.
    # By itself the library would wait for 70, or without end.
    assert time.perf_counter() - start < 9
    assert str(refused.value).startswith(
        "owner/model is not a folder, and the hub does not answer; where it does: `hf download owner/model --local-dir "
        "DIR`, then here `--model DIR`: "
    )
    assert "\n" not in str(refused.value)


@FIND
def test_a_hub_that_nobody_listens_for_is_given_up_at_once(
    find: Callable[[str], object], silent: socket.socket
) -> None:
    silent.close()
    with pytest.raises(CheckpointError, match="owner/model is not a folder, and the hub does not answer"):
        find("owner/model")


def test_the_hub_s_own_setting_makes_it_wait_longer(silent: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 30)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, timeout: asked.append((url, timeout)))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **options: download(options))

    def download(options: dict[str, object]) -> str:
        if options["local_files_only"]:
            raise huggingface_hub.errors.LocalEntryNotFoundError("not here")
        return "folder/config.json"

    assert folders.resolve("owner/model", only="config.json") == Path("folder")
    assert asked == [(f"{huggingface_hub.constants.ENDPOINT}/owner/model/resolve/main/config.json", 30)]
