"""A checkpoint's tokenizer files, in either published layout, and its chat template; none of its code is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from maskkv import files
from maskkv.checkpoints import tokenizer_checks
from maskkv.checkpoints.tokenizer_checks import MOST_ADDED, failures
from maskkv.errors import CheckpointError
from maskkv.models.fields import read_json
from maskkv.printable import brief

NO_TOKENIZER = "has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt"


TokenizerFiles = tuple[Tokenizer, str | None, dict[str, str]]
"""A tokenizer, the chat template, and the tokens that this may refer to by name (`bos_token`, ...)."""


def present(folder: Path) -> bool:
    """Tell whether a folder has a tokenizer, in either layout."""
    return (folder / "tokenizer.json").exists() or all(
        (folder / name).exists() for name in ("vocab.json", "merges.txt")
    )


def read(folder: Path) -> TokenizerFiles:
    """Read a folder's tokenizer, its chat template if it has one, and the tokens that templates may name.

    Raises:
        CheckpointError: The folder has no tokenizer, or a broken one.
    """
    config = read_json(folder / "tokenizer_config.json") or {}
    names = {**(read_json(folder / "special_tokens_map.json") or {}), **config}
    named = {name: _content(token) for name, token in names.items() if name.endswith("_token")}
    named_tokens = {name: token for name, token in named.items() if token is not None}
    if (folder / "tokenizer.json").exists():
        tokenizer = _read_tokenizer(folder / "tokenizer.json")
    elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        tokenizer = _build_qwen2(folder, config, _special(names))
    else:
        raise CheckpointError(f"{folder} {NO_TOKENIZER}")
    with failures(CheckpointError, f"{folder}: the tokenizer fails on any text"):
        tokenizer.decode(tokenizer.encode("a B\n 1 é", add_special_tokens=True).ids)
    return tokenizer, _read_template(folder, config), named_tokens


def _content(token: object) -> str | None:
    """Return a special token's text, which the files give bare or as an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _special(names: Mapping[str, object]) -> set[str]:
    """Collect the texts of the special tokens, named and unnamed."""
    more = names.get("additional_special_tokens")
    tokens = [token for name, token in names.items() if name.endswith("_token")]
    tokens += more if isinstance(more, list) else []
    return {text for text in map(_content, tokens) if text is not None}


def held(tokenizer: object) -> TokenizerFiles:
    """Return what `read` does of a fast tokenizer that transformers has loaded; the tokenizer itself is a copy.

    Raises:
        CheckpointError: It has no fast tokenizer inside, or one that cannot be used.
    """
    name = type(tokenizer).__name__
    inside, template = getattr(tokenizer, "backend_tokenizer", None), getattr(tokenizer, "chat_template", None)
    if not isinstance(inside, Tokenizer):
        raise CheckpointError(
            f"tokenizer {name} has no backend_tokenizer of the tokenizers library: give a PreTrainedTokenizerFast, or "
            "the folder that holds its files"
        )
    if isinstance(template, Mapping):
        template = template.get("default")
    tokens = getattr(tokenizer, "special_tokens_map", {})
    named = {name: str(token) for name, token in tokens.items() if name.endswith("_token")}
    return _made(json.loads(inside.to_str()), name), template, named


def _read_tokenizer(path: Path) -> Tokenizer:
    return _made(read_json(path) or {}, path)


def _made(raw: dict[str, object], where: object) -> Tokenizer:
    """Make a tokenizer of its description, if that is harmless."""
    try:
        tokenizer_checks.check(raw)
    except CheckpointError as error:
        raise CheckpointError(f"{where} is not a tokenizer that can be used: {error}") from None
    with failures(CheckpointError, f"{where} is not a tokenizer"):
        # What was checked, and not the file, which another reader may take otherwise. Nothing is cut nor padded.
        return Tokenizer.from_str(json.dumps({**raw, "truncation": None, "padding": None}))


def _read_template(folder: Path, config: Mapping[str, object]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return files.read_text(path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {brief(error)}") from None
    template = config.get("chat_template")
    if isinstance(template, list):
        template = _default(folder, template)
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: chat_template is no text")
    return template


def _default(folder: Path, templates: Sequence[object]) -> object:
    """Return the template of that name among several, if there is one."""
    named: dict[str, object] = {}
    for each in templates:
        match each:
            case {"name": str(name), "template": str(template)} if name not in named:
                named[name] = template
            case _:
                raise CheckpointError(
                    f"{folder / 'tokenizer_config.json'}: chat_template lists {brief(repr(each), 80)}; supported: "
                    "a name and a template each, no name twice"
                )
    return named.get("default")


def _build_qwen2(folder: Path, config: Mapping[str, object], special: set[str]) -> Tokenizer:
    """Build Qwen2's byte-level BPE from its two files and the tokens that were added to it."""
    from transformers import Qwen2Tokenizer

    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    with failures(CheckpointError, f"{folder}: vocab.json and merges.txt are not a tokenizer"):
        for path in (vocab, merges):
            files.read_text(path)
        # None, so that it adds no tokens of its own; it takes None although its annotations do not.
        bare = Qwen2Tokenizer(vocab=str(vocab), merges=str(merges), unk_token=None, eos_token=None, pad_token=None)  # type: ignore[arg-type]
    tokenizer: Tokenizer = bare.backend_tokenizer
    added = _added_tokens(folder, config, special)
    if len(added) > MOST_ADDED:
        raise CheckpointError(f"{folder} has {len(added)} added tokens; supported: at most {MOST_ADDED}")
    for number, token in sorted(added.items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != number:
            found = tokenizer.token_to_id(token.content)
            raise CheckpointError(
                f"{folder}: added token {brief(repr(token.content))} gets id {found}, expected {brief(number)}"
            )
    return tokenizer


def _added_tokens(folder: Path, config: Mapping[str, object], special: set[str]) -> dict[int, AddedToken]:
    """Read the added tokens, from `tokenizer_config.json` or else from the older `added_tokens.json`."""
    entries = config.get("added_tokens_decoder")
    try:
        if isinstance(entries, dict):
            return {int(number): AddedToken(**entry) for number, entry in entries.items()}
        older = read_json(folder / "added_tokens.json") or {}
        return {
            int(str(number)): AddedToken(content, normalized=False, special=content in special)
            for content, number in older.items()
        }
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: the added tokens are malformed: {brief(error)}") from None
