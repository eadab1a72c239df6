"""LongBench's files: examples from JSON lines, prompt templates from `dataset2prompt.json`. None of it is trusted."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Formatter
from typing import IO

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError

from maskkv.errors import InputError
from maskkv.eval.longbench.datasets import score

HUB = ("zai-org/LongBench", "THUDM/LongBench")
"""The data set's names on the hub, the newer one first."""
TEMPLATES = "dataset2prompt.json"


@dataclass(frozen=True)
class Example:
    """One document with its question and the answers that count; `all_classes` only where answers are classes."""

    context: str
    input: str
    answers: tuple[str, ...]
    all_classes: tuple[str, ...] | None


def find(data: Path | None) -> Path:
    """Return the folder of the data: the one given, or the snapshot in the hub's cache.

    Raises:
        InputError: There is no such folder, or the cache has no LongBench. Nothing is fetched.
    """
    if data is not None:
        if not data.is_dir():
            raise InputError(f"{data} is not a folder: expected one with files like hotpotqa.jsonl and {TEMPLATES}")
        return data
    for repo in HUB:
        try:
            return Path(huggingface_hub.snapshot_download(repo, repo_type="dataset", local_files_only=True))
        except LocalEntryNotFoundError:
            continue
    raise InputError(
        f"LongBench is not in the hub's cache: give --data DIR, a folder with {TEMPLATES} and files like "
        f"hotpotqa.jsonl, or run `hf download --repo-type dataset {HUB[0]}`"
    )


def examples(folder: Path, dataset: str, n: int | None = None) -> list[Example]:
    """Read the first n examples of a data set, or all: from `<dataset>.jsonl`, also under `data` or in `data.zip`.

    Raises:
        InputError: There is no such file, or a line of it is not an example.
    """
    found = []
    with _opened(folder, dataset) as (name, lines):
        filled = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
        for number, line in islice(filled, n):
            try:
                found.append(_example(line, dataset))
            except InputError as error:
                raise InputError(f"{name}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{name} is empty: expected one example a line")
    return found


def template(folder: Path, dataset: str, prompts: Path | None = None) -> str:
    """Read a data set's prompt template: the text with `{context}` and perhaps `{input}` in it.

    Raises:
        InputError: There is no such file or template, or the template has other fields.
    """
    file = folder / TEMPLATES if prompts is None else prompts
    try:
        known = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(
            f"there is no {file}: put LongBench's config/{TEMPLATES} beside the data, or name it with --prompts"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from None
    found = known.get(dataset) if isinstance(known, dict) else None
    if not isinstance(found, str):
        raise InputError(f'{file} has no template for {dataset}: expected {{"{dataset}": "… {{context}} … {{input}}"}}')
    try:
        parsed = list(Formatter().parse(found))
    except ValueError as error:
        raise InputError(f"{file}: the template for {dataset} is malformed: {error}") from None
    fields = {_field(name, spec, conversion) for _, name, spec, conversion in parsed if name is not None}
    if "{context}" not in fields or not fields <= {"{context}", "{input}"}:
        shown = ", ".join(sorted(fields)) or "no field"
        raise InputError(f"{file}: the template for {dataset} has {shown}: expected {{context}} and perhaps {{input}}")
    return found


def _field(name: str, spec: str | None, conversion: str | None) -> str:
    return "{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}"


def fill(template: str, example: Example) -> str:
    """Put an example into a template."""
    values = {"context": example.context, "input": example.input, None: ""}
    return "".join(literal + values[field] for literal, field, _, _ in Formatter().parse(template))


@contextmanager
def _opened(folder: Path, dataset: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """Open a data set's lines, and name them."""
    archive, member = folder / "data.zip", f"data/{dataset}.jsonl"
    plain = next((file for file in (folder / f"{dataset}.jsonl", folder / member) if file.exists()), None)
    if plain is None and not archive.exists():
        raise InputError(f"{folder} has no {dataset}.jsonl, {member} or {archive.name}: expected one of them")
    try:
        if plain is not None:
            with plain.open("rb") as lines:
                yield plain, lines
            return
        with zipfile.ZipFile(archive) as packed:
            if member not in packed.namelist():
                raise InputError(f"{archive} has no {member}")
            with packed.open(member) as lines:
                yield archive / member, lines
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: a password is needed
        raise InputError(f"{plain or archive} cannot be read: {error}") from None


def _example(line: bytes, dataset: str) -> Example:
    try:
        raw = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte 0x{line[error.start]:02x})") from None
    except (ValueError, RecursionError):
        raise InputError("not a JSON object") from None
    if not isinstance(raw, dict):
        raise InputError("not a JSON object")
    classes = raw.get("all_classes")
    made = Example(
        context=_text("context", raw.get("context")),
        input=_text("input", raw.get("input")),
        answers=_texts("answers", raw.get("answers")),
        all_classes=None if classes is None else _texts("all_classes", classes),
    )
    score(dataset, "", made.answers, made.all_classes)  # refuses what could not be scored later
    return made


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f'"{name}" is {_kind(value)}: expected a text')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f'"{name}" holds half a surrogate pair: expected valid Unicode') from None
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f'"{name}" is {_kind(value)}: expected a list of texts')
    return tuple(_text(f"{name}[{index}]", each) for index, each in enumerate(value))


def _kind(value: object) -> str:
    return "missing" if value is None else "empty" if value in ("", []) else f"a JSON {type(value).__name__}"
