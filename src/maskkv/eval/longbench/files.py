"""LongBench's files: examples from JSON lines, prompt templates from `dataset2prompt.json`. None of it is trusted."""

from __future__ import annotations

import hashlib
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Formatter

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError

from maskkv.errors import InputError
from maskkv.eval.longbench.datasets import score

HUB = ("zai-org/LongBench", "THUDM/LongBench")
"""The data set's names on the hub, the newer one first."""
TEMPLATES = "dataset2prompt.json"

_BROKEN = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What reading an archive raises; RuntimeError if a password is needed, EOFError if it was cut off."""


@dataclass(frozen=True)
class LongBenchExample:
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


def check(folder: Path, dataset: str, n: int | None = None) -> tuple[int, str]:
    """Read the first n examples of a data set, or all, and return how many these are and a hash of the whole file.

    The file is `<dataset>.jsonl`, also under `data` or in `data.zip`; lines without anything on them do not count.

    Raises:
        InputError: There is no such file, or a line that is read is not an example.
    """
    found, digest = 0, hashlib.sha256()
    for where, line in _lines(folder, dataset):
        digest.update(line)
        if n is None or found < n:
            _example(where, line, dataset)
            found += 1
    if not found:
        raise InputError(f"{folder}: the file of {dataset} is empty, expected one example a line")
    return found, digest.hexdigest()[:16]


def example(folder: Path, dataset: str, number: int) -> LongBenchExample:
    """Read one example; the first one is number 0."""
    for where, line in islice(_lines(folder, dataset), number, number + 1):
        return _example(where, line, dataset)
    raise InputError(f"{folder}: the file of {dataset} has no example {number} any more")


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


def fill(template: str, example: LongBenchExample) -> str:
    """Put an example into a template."""
    values = {"context": example.context, "input": example.input, None: ""}
    return "".join(literal + values[field] for literal, field, _, _ in Formatter().parse(template))


def _lines(folder: Path, dataset: str) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a data set with where they are."""
    archive, member = folder / "data.zip", f"data/{dataset}.jsonl"
    plain = next((file for file in (folder / f"{dataset}.jsonl", folder / member) if file.exists()), None)
    if plain is None and not archive.exists():
        raise InputError(
            f"{folder} has no {dataset}.jsonl, {member} or {archive.name}: put one there, or choose by --task what is"
        )
    name = plain or archive / member
    try:
        with ExitStack() as stack:
            if plain is None:
                packed = stack.enter_context(zipfile.ZipFile(archive))
                if member not in packed.namelist():
                    raise InputError(f"{archive} has no {member}")
            lines = stack.enter_context(plain.open("rb") if plain else packed.open(member))
            for number, line in enumerate(lines, start=1):
                if line.strip(b"\xef\xbb\xbf \r\n"):
                    yield f"{name}, line {number}", line
    except _BROKEN as error:
        raise InputError(f"{name} cannot be read: {str(error) or 'it ends too early'}") from None


def _example(where: str, line: bytes, dataset: str) -> LongBenchExample:
    try:
        made = _parsed(line)
        score(dataset, "", made.answers, made.all_classes)  # refuses what could not be scored later
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return made


def _parsed(line: bytes) -> LongBenchExample:
    try:
        raw = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte 0x{line[error.start]:02x})") from None
    except (ValueError, RecursionError):
        raise InputError("not a JSON object") from None
    if not isinstance(raw, dict):
        raise InputError("not a JSON object")
    classes = raw.get("all_classes")
    return LongBenchExample(
        context=_text("context", raw.get("context")),
        input=_text("input", raw.get("input")),
        answers=_texts("answers", raw.get("answers")),
        all_classes=None if classes is None else _texts("all_classes", classes),
    )


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
