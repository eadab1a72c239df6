"""Rebuild the training text: `python -m maskkv.training.corpus --out .train`.

Everything comes from pinned distributions on PyPI and from Python's own documentation. Archives are read in
memory; no code of theirs is imported or run.
"""

import argparse
import ast
import hashlib
import html
import json
import lzma
import pydoc_data.topics
import re
import subprocess
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Literal

from maskkv.training.archives import files, gunzipped, members
from maskkv.training.paragraphs import paragraphs, prose, verbatim
from maskkv.training.sources import SOURCES, Source

FILE = "corpus.jsonl.xz"
Split = Literal["train", "validation"]
# A document and one of its paragraphs.
Found = tuple[str, str]
_VALIDATION = 0.03
# Paragraphs that begin with the same words, here and there: reference pages repeat themselves.
_OPENING, _MOST_ALIKE = 5, 8
_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64", "--python-version", "3.11")
_NOT_PROSE = re.compile(r"site-packages|\btest|idlelib")
_STANDARD_LIBRARY = Source("Python", "3", "PSF-2.0")
_UNWANTED = re.compile(r"dist-info|/(?:tests?|locale|_?vendor|node_modules)/|licen[sc]e|copying|authors", re.IGNORECASE)
# A string of JSON, with no escape but those that JSON knows.
_DESCRIPTION = re.compile(r'"documentation"\s*:\s*("(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")')
_TAG = re.compile(r"</?\w[^<>]*>")
_BLOCK = re.compile(r"</?(?:p|ul|ol|li|note|important|dl|dt|dd|br|h\d|table|tr|td)\b[^>]*>")


def main() -> None:
    """Fetch what is not in the cache, and write the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the corpus and the cache of archives")
    out: Path = parser.parse_args().out
    archives = fetch(SOURCES, out / "cache")
    written = write(found(archives), out / FILE)
    for source, (count, characters) in written.items():
        print(f"{source:24} {count:7} paragraphs {characters:10} characters")


def fetch(sources: Iterable[Source], cache: Path) -> dict[Source, Path]:
    """Download the wheels that the cache lacks; wheels, for nothing of theirs runs when pip reads them."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = list(sources)
    lacking = [f"{each.name}=={each.version}" for each in wanted if not _archive(each, cache)]
    if lacking:
        options = ["--no-deps", "--only-binary", ":all:", *_PLATFORM, "--dest", str(cache)]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *options, *lacking], check=True)
    return {each: path for each in wanted if (path := _archive(each, cache))}


def found(archives: dict[Source, Path]) -> Iterator[Found]:
    """Yield every paragraph with its document, archive by archive, the standard library first."""
    yield from _limited(_STANDARD_LIBRARY, standard_library())
    for source, archive in archives.items():
        yield from _limited(source, documents(source.name, members(archive, is_wanted)))


def standard_library() -> Iterator[Found]:
    """Yield Python's help topics and the strings of its standard library, of the Python that runs this."""
    for topic, text in sorted(pydoc_data.topics.topics.items()):
        yield from ((f"Python/topics/{topic}", each) for each in paragraphs(text))
    folder = Path(sysconfig.get_path("stdlib"))
    yield from documents("Python", files(folder, lambda name: name.endswith(".py") and not _NOT_PROSE.search(name)))


def documents(source: str, contents: Iterable[tuple[str, bytes]]) -> Iterator[Found]:
    """Yield the paragraphs of each file: strings of code, prose of text files, descriptions in JSON."""
    for name, content in contents:
        try:
            plain = (gunzipped(content) if name.endswith(".gz") else content).decode()
        except ValueError:
            continue
        document = f"{source}/{name}"
        yield from ((document, each) for each in _paragraphs(name.removesuffix(".gz"), plain))


def strings(code: str) -> list[str]:
    """Return the long strings of Python code, docstrings and others, in their order; nothing of it is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    placed: list[tuple[int, str]] = []
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") >= 16:
            placed.append((node.lineno, node.value))
        # `ast.walk` does the same at a third of the speed.
        for field in vars(node).values():
            within = field if isinstance(field, list) else (field,)
            left += [each for each in within if isinstance(each, ast.AST)]
    return [cleandoc(text) for _, text in sorted(placed)]


def is_wanted(name: str) -> bool:
    """Tell whether a member of an archive may hold English, by its name."""
    if _UNWANTED.search(name):
        return False
    return name.endswith((".py", ".rst", ".md", ".txt", ".cfg", ".conf", ".ini", ".toml", ".yaml", ".yml")) or bool(
        re.search(r"/service-\d\.json(?:\.gz)?$", name)
    )


def split(document: str) -> Split:
    """Tell which part a document belongs to; all its paragraphs go there."""
    share = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") / 2**32
    return "validation" if share < _VALIDATION else "train"


def write(paragraphs_found: Iterable[Found], file: Path) -> dict[str, tuple[int, int]]:
    """Write the paragraphs, each once, as lines of JSON; return how many and how long each source's are."""
    seen: set[str] = set()
    openings: Counter[str] = Counter()
    counts: dict[str, tuple[int, int]] = {}
    partial = file.with_name(file.name + ".partial")
    with lzma.open(partial, "wt", encoding="utf-8", preset=6) as lines:
        for document, text in paragraphs_found:
            same = re.sub(r"[^a-z]+", " ", text.lower())
            opening = " ".join(same.split()[:_OPENING])
            if same in seen or openings[opening] >= _MOST_ALIKE:
                continue
            seen.add(same)
            openings[opening] += 1
            record = {"source": document, "split": split(document), "text": text}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
            source = document.split("/")[0]
            count, characters = counts.get(source, (0, 0))
            counts[source] = count + 1, characters + len(text)
    partial.replace(file)
    return counts


def read(file: Path, part: Split) -> Iterator[str]:
    """Yield the paragraphs of one part of a written corpus."""
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["split"] == part:
                yield record["text"]


def _paragraphs(name: str, text: str) -> Iterator[str]:
    if name.endswith(".py"):
        for each in strings(text):
            yield from paragraphs(each)
    elif name.endswith(".json"):
        for description in _DESCRIPTION.findall(text):
            for each in _BLOCK.split(json.loads(description, strict=False)):
                yield from prose(html.unescape(_TAG.sub("", each)))
    elif name.endswith((".rst", ".md", ".txt")):
        yield from paragraphs(text)
    else:
        for each in re.split(r"\n\s*\n", text):
            if block := verbatim(tuple(each.strip("\n").splitlines())):
                yield block


def _limited(source: Source, all_found: Iterable[Found]) -> Iterator[Found]:
    """Take whole documents, in an order that their hashes decide, until a source has given enough."""
    by_document: dict[str, list[str]] = {}
    for document, text in all_found:
        by_document.setdefault(document, []).append(text)
    left = source.most_characters
    for document in sorted(by_document, key=lambda name: hashlib.sha256(name.encode()).digest()):
        for text in by_document[document]:
            if left > 0:
                left -= len(text)
                yield document, text


def _archive(source: Source, cache: Path) -> Path | None:
    plain = re.sub(r"[-_.]+", "_", source.name).lower()
    return next(iter(sorted(cache.glob(f"{plain}-{source.version}-*.whl"))), None)


if __name__ == "__main__":
    main()
