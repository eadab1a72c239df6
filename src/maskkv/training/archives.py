"""Read members of wheels, source archives and the standard library in memory; nothing is unpacked or executed."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

LARGEST = 4 * 2**20
"""Bytes of the largest member that is read; text of documents is smaller, whatever an archive claims."""

MOST_MEMBERS = 50_000
"""Members of an archive that are looked at."""

MOST_BYTES = 2**29
"""Bytes read from one archive."""

Wanted = Callable[[str], bool]


def members(archive: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the wanted members of a .whl, .zip or .tar.gz, in the archive's order."""
    opened = _zipped(archive, wanted) if archive.suffix in {".whl", ".zip"} else _tarred(archive, wanted)
    total = 0
    for name, content in opened:
        total += len(content)
        if total > MOST_BYTES:
            return
        yield name, content


def files(folder: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the wanted files below a folder, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if wanted(name) and path.is_file() and path.stat().st_size <= LARGEST:
            yield name, path.read_bytes()


def gunzipped(content: bytes, most: int = 16 * LARGEST) -> bytes:
    """Return what a .gz holds; ValueError if that is more than `most` bytes or no gzip."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            plain = packed.read(most + 1)
    except (OSError, EOFError) as error:
        raise ValueError("not gzip") from error
    if len(plain) > most:
        raise ValueError(f"more than {most} bytes")
    return plain


def _zipped(archive: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist()[:MOST_MEMBERS]:
            if not wanted(info.filename) or info.file_size > LARGEST:
                continue
            # The size that the archive states may be a lie: read one byte more than it may be.
            with opened.open(info) as member:
                content = member.read(LARGEST + 1)
            if len(content) <= LARGEST:
                yield info.filename, content


def _tarred(archive: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive, "r|gz") as opened:
        for count, info in enumerate(opened):
            if count >= MOST_MEMBERS:
                return
            if not info.isreg() or info.size > LARGEST or not wanted(info.name):
                continue
            member = opened.extractfile(info)
            if member is not None:
                yield info.name, member.read(LARGEST)
