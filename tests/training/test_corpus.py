"""The corpus: paragraphs out of archives that hold anything, markup off, each once, split by document."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from maskkv.training import archives, corpus
from maskkv.training.paragraphs import is_english, paragraphs, verbatim
from maskkv.training.sources import SOURCES, Source

PARAGRAPH = (
    "The :func:`~shop.order` function returns the ``Order`` that the customer has placed, and it raises an error "
    "when the *basket* is empty or when the `payment <https://example.org>`_ was refused by the bank."
)
PLAIN = (
    "The shop.order function returns the Order that the customer has placed, and it raises an error when the basket "
    "is empty or when the payment was refused by the bank."
)
OTHER = (
    "A second paragraph says that the gate in the north of the garden is closed in the evening, and that you can "
    "have a key for it if you ask at the office."
)
DOCUMENT = f"""
Orders
======

.. module:: shop

.. note:: {PARAGRAPH}

{OTHER}
The example shows the settings::

    [shop]
    host = example.org
    port = 8080
    user = anna

>>> order(1)
2

Short.
"""


def wheel(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def test_markup_is_taken_off_and_code_dropped() -> None:
    assert list(paragraphs(DOCUMENT)) == [
        PLAIN,
        f"{OTHER} The example shows the settings:",
        "[shop]\nhost = example.org\nport = 8080\nuser = anna",
    ]


def test_long_paragraphs_are_cut_between_sentences() -> None:
    parts = list(paragraphs(" ".join([OTHER] * 9)))
    assert len(parts) > 1
    assert all(is_english(part) and part.endswith("office.") for part in parts)


@pytest.mark.parametrize(
    "text",
    [
        "Too short.",
        "copyright " + OTHER,
        "Copyright 2020. " + OTHER,
        " ".join(["ident_one", "ident_two"] * 15) + ".",
        "Der zweite Absatz sagt, dass das Tor im Norden des Gartens am Abend geschlossen ist, und dass man einen "
        "Schlüssel im Büro bekommt.",
    ],
)
def test_other_texts_are_no_english_paragraphs(text: str) -> None:
    assert not is_english(text)


@pytest.mark.parametrize(
    "lines",
    [
        ("$ shop restart --all", "Stopping the shop: done", "Starting the shop: done"),
        ("2024-03-01 10:00:01 shop started now", "2024-03-01 10:00:02 shop waits", "2024-03-01 10:00:05 stopped"),
    ],
)
def test_shells_and_logs_stay_as_they_are(lines: tuple[str, ...]) -> None:
    assert verbatim(tuple("    " + line for line in lines)) == "\n".join(lines)


def test_code_is_no_setting() -> None:
    assert not verbatim(("order = place(1)", "order.paid = True", "print(order)", "total = order.total"))


def test_strings_of_code_are_found_and_nothing_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f'"""{OTHER}"""\nopen({str(ran)!r}, "w")\ndef order():\n    """{PARAGRAPH}"""\n'
    assert [text for each in corpus.strings(code) for text in paragraphs(each)] == [OTHER, PLAIN]
    assert corpus.strings("def broken(:") == []
    assert corpus.strings("(" * 100_000) == []
    assert not ran.exists()


def test_members_that_are_too_large_or_lie_are_left_out(tmp_path: Path) -> None:
    path = wheel(tmp_path, "a.whl", {"small.rst": b"a", "../large.rst": b"a" * (archives.LARGEST + 1)})
    assert list(archives.members(path, lambda _: True)) == [("small.rst", b"a")]
    assert [each.name for each in tmp_path.iterdir()] == ["a.whl"]


def test_links_in_source_archives_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("link.rst")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        regular = tarfile.TarInfo("a.rst")
        regular.size = 1
        archive.addfile(regular, io.BytesIO(b"a"))
    assert list(archives.members(path, lambda _: True)) == [("a.rst", b"a")]


def test_gzip_that_grows_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 10 bytes"):
        archives.gunzipped(gzip.compress(b"a" * 11), 10)
    with pytest.raises(ValueError, match="not gzip"):
        archives.gunzipped(b"a")


def test_descriptions_in_json_are_read() -> None:
    described = json.dumps({"shape": {"documentation": f"<p>{OTHER}</p><p>Short.</p>"}}).encode()
    name = "data/shop/service-2.json.gz"
    assert corpus.is_wanted(name)
    assert list(corpus.documents("shop", [(name, gzip.compress(described))])) == [(f"shop/{name}", OTHER)]
    assert list(corpus.documents("shop", [(name, gzip.compress(b'{"documentation": "\\d"'))])) == []


def test_a_paragraph_is_written_once_and_read_by_split(tmp_path: Path) -> None:
    # Letters only, for numbers do not tell paragraphs apart.
    texts = [
        f"{chr(97 + number // 26)}x {chr(97 + number % 26)} is what the customer asked for" for number in range(400)
    ]
    found = [(f"shop/{number}.rst", text) for number, text in enumerate(texts)]
    written = corpus.write([*found, *found], tmp_path / "c.xz")
    assert written == {"shop": (400, sum(map(len, texts)))}
    train, validation = (list(corpus.read(tmp_path / "c.xz", part)) for part in ("train", "validation"))
    assert sorted(train + validation) == sorted(texts)
    assert 0 < len(validation) < 40
    assert [corpus.split(document) for document, text in found if text in validation] == ["validation"] * len(
        validation
    )


def test_the_same_archives_make_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "standard_library", lambda: iter(()))
    source = Source("my-shop", "1.0", "MIT")
    wheel(
        tmp_path, "my_shop-1.0-py3-none-any.whl", {"shop/a.rst": DOCUMENT.encode(), "my_shop-1.0.dist-info/a.md": b""}
    )
    made = []
    for name in "ab":
        fetched = corpus.fetch([source], tmp_path)
        corpus.write(corpus.found(fetched), tmp_path / name)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    assert len(list(corpus.read(tmp_path / "a", corpus.split("my-shop/shop/a.rst")))) == 3


def test_sources_are_pinned_and_permissive() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    assert not [source.name for source in SOURCES if "GPL" in source.licence or not source.version]
