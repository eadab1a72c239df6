"""The folder that a model's name means: a local one, one of the hub's cache, or one that is fetched now."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from maskkv.checkpoints.tokenizer_checks import failures
from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.printable import brief

FILES = ("*.safetensors", "*.json", "merges.txt", "chat_template.jinja")
"""All that is ever fetched from the hub."""

_PATIENCE = 2.0
"""Seconds that the hub has to answer at all, unless HF_HUB_ETAG_TIMEOUT says otherwise."""


def resolve(source: str | Path, *, only: str | None = None) -> Path:
    """Return a checkpoint's folder: a local one, the hub cache's, or one fetched now, of which `only` one file may do.

    Raises:
        CheckpointError: It is neither a folder nor a hub id that can be had.
    """
    if not str(source):
        raise CheckpointError("the model has an empty name; give the folder that holds it, or a hub id (owner/name)")
    folder = _local(source)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"{source} is a file; give the folder that holds it")
    return _from_hub(str(source), only)


def at_hand(source: str | Path) -> Path | None:
    """Return a checkpoint's folder if it is on this machine, in the hub's cache too; None if it is not."""
    folder = _local(source)
    if folder.is_dir():
        return folder
    try:
        return _snapshot(str(source), local_files_only=True)
    except FileNotFoundError:
        return None


def _local(source: str | Path) -> Path:
    """Return the path of that name, `~` spelled out, that can be asked for what is there."""
    if not isinstance(source, str | Path):
        raise InputError(f"model {quoted(source)}: expected a folder or a hub id (owner/name)")
    try:
        path = Path(source).expanduser()
        path.exists()
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"the name {source} is not UTF-8, as those who read weights need it: rename it") from None
    except RuntimeError:
        raise CheckpointError(f"there is no home folder for {source}; give the folder's whole name") from None
    except OSError:  # No file can have such a name.
        raise CheckpointError(f"{brief(source)} is not a folder, nor a hub id (owner/name)") from None
    return path


def _from_hub(repo: str, only: str | None) -> Path:
    # Its errors bring an HTTP client along, which a local folder does without.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def fetch(local_files_only: bool) -> Path:
        if only is not None:
            return Path(huggingface_hub.hf_hub_download(repo, only, local_files_only=local_files_only)).parent
        return _snapshot(repo, local_files_only)

    try:
        try:
            # A complete snapshot in the cache is used as it is: the hub is not asked for a newer one.
            return fetch(local_files_only=True)
        except LocalEntryNotFoundError:
            _knock(repo)
            return fetch(local_files_only=False)
    except HFValidationError:
        raise CheckpointError(f"{brief(repo)} is not a folder, nor a hub id (owner/name)") from None
    except (OSError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{repo} is not a folder and could not be fetched from the hub: {reason}") from None


def _knock(repo: str) -> None:
    """Refuse a hub that does not answer: what fetches a whole model would wait for it without end."""
    from huggingface_hub.errors import HfHubHTTPError

    told = constants.HF_HUB_ETAG_TIMEOUT
    patience = _PATIENCE if told == constants.DEFAULT_ETAG_TIMEOUT else told
    absent = (
        f"{repo} is not a folder, and the hub does not answer; where it does: `hf download {repo} --local-dir DIR`, "
        "then here `--model DIR`"
    )
    # Whatever else the HTTP client raises; an answer of the hub's, even a refusal, is none of it.
    with failures(CheckpointError, absent, but=HfHubHTTPError):
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(repo, "config.json"), timeout=patience)


def _snapshot(repo: str, local_files_only: bool) -> Path:
    allowed = list(FILES)
    return Path(huggingface_hub.snapshot_download(repo, allow_patterns=allowed, local_files_only=local_files_only))
