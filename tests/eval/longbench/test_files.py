"""LongBench's files: what is read, from where, and the one line that names what is wrong with them."""

import json
import lzma
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import InputError
from maskkv.eval.longbench import files
from maskkv.eval.longbench.files import LongBenchExample

GOOD = {
    "input": "Who?", "context": "Ann did.", "answers": ["Ann", "Anna"], "length": 2, "dataset": "hotpotqa",
    "language": "en", "all_classes": None, "_id": "1",
}  # fmt: skip
TREC = GOOD | {"answers": ["Who"], "all_classes": ["Who", "Where"]}


def lines(folder, dataset, *examples):
    file = folder / f"{dataset}.jsonl"
    file.write_bytes(
        b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in examples)
    )
    return file


def templates(folder, **known):
    (folder / "dataset2prompt.json").write_text(json.dumps(known))


def test_the_first_examples_are_read(tmp_path):
    lines(tmp_path, "hotpotqa", GOOD, b"\n", GOOD | {"input": "Où ?"}, b"broken, but never read")
    assert files.check(tmp_path, "hotpotqa", 2)[0] == 2
    assert [files.example(tmp_path, "hotpotqa", number) for number in range(2)] == [
        LongBenchExample("Ann did.", "Who?", ("Ann", "Anna"), None),
        LongBenchExample("Ann did.", "Où ?", ("Ann", "Anna"), None),
    ]
    with pytest.raises(InputError, match="line 4: not a JSON object"):
        files.check(tmp_path, "hotpotqa", 3)


def test_the_hash_is_the_whole_file_s_however_many_examples_are_read(tmp_path):
    lines(tmp_path, "hotpotqa", GOOD, GOOD, GOOD)
    one, all_ = files.check(tmp_path, "hotpotqa", 1), files.check(tmp_path, "hotpotqa")
    assert one == (1, all_[1])
    assert all_[0] == 3
    lines(tmp_path, "hotpotqa", GOOD, GOOD, GOOD | {"input": "When?"})
    assert files.check(tmp_path, "hotpotqa", 1)[1] != one[1]


def test_a_file_that_got_shorter_is_named(tmp_path):
    lines(tmp_path, "hotpotqa", GOOD)
    with pytest.raises(InputError, match="the file of hotpotqa has no example 1 any more"):
        files.example(tmp_path, "hotpotqa", 1)


def test_fields_that_nothing_needs_may_be_absent(tmp_path):
    lines(
        tmp_path, "trec", b"\xef\xbb\xbf", {name: TREC[name] for name in ("input", "context", "answers", "all_classes")}
    )
    assert files.example(tmp_path, "trec", 0) == LongBenchExample("Ann did.", "Who?", ("Who",), ("Who", "Where"))


def test_files_may_be_in_a_folder_or_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/hotpotqa.jsonl", json.dumps(GOOD))
    assert files.check(tmp_path, "hotpotqa")[0] == 1
    (tmp_path / "data").mkdir()
    lines(tmp_path / "data", "hotpotqa", GOOD, GOOD)
    assert files.check(tmp_path, "hotpotqa")[0] == 2
    lines(tmp_path, "hotpotqa", GOOD, GOOD, GOOD)
    assert files.check(tmp_path, "hotpotqa")[0] == 3


@pytest.mark.parametrize(
    ("dataset", "line", "says"),
    [
        ("hotpotqa", b"{", "not a JSON object"),
        ("hotpotqa", b"[1]", "not a JSON object"),
        ("hotpotqa", b"[" * 100_000, "not a JSON object"),
        ("hotpotqa", b'{"input": "\xff"}', "not UTF-8 (byte 0xff)"),
        ("hotpotqa", {}, '"context" is missing: expected a text'),
        ("hotpotqa", GOOD | {"input": 3}, '"input" is a JSON int: expected a text'),
        ("hotpotqa", GOOD | {"context": "\ud800"}, '"context" holds half a surrogate pair'),
        ("hotpotqa", GOOD | {"answers": "Ann"}, '"answers" is a JSON str: expected a list of texts'),
        ("hotpotqa", GOOD | {"answers": []}, '"answers" is empty: expected a list of texts'),
        ("hotpotqa", GOOD | {"answers": ["Ann", None]}, '"answers[1]" is missing: expected a text'),
        ("trec", GOOD, "trec is scored by its classes: expected all_classes"),
        ("passage_retrieval_en", GOOD, "names no paragraph"),
    ],
)
def test_a_bad_line_is_named(tmp_path, dataset, line, says):
    file = lines(tmp_path, dataset, TREC | {"answers": ["Paragraph 1"]}, line)
    with pytest.raises(InputError) as caught:
        files.check(tmp_path, dataset)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_files_that_are_not_there_or_not_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"has no hotpotqa\.jsonl, data/hotpotqa\.jsonl or data\.zip"):
        files.check(tmp_path, "hotpotqa")
    (tmp_path / "data.zip").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"data\.zip/data/hotpotqa\.jsonl cannot be read: File is not a zip file"):
        files.check(tmp_path, "hotpotqa")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/trec.jsonl", json.dumps(TREC))
    with pytest.raises(InputError, match=r"data\.zip has no data/hotpotqa\.jsonl"):
        files.check(tmp_path, "hotpotqa")
    lines(tmp_path, "hotpotqa", b" \n\n")
    with pytest.raises(InputError, match="the file of hotpotqa is empty"):
        files.check(tmp_path, "hotpotqa")
    (tmp_path / "lcc.jsonl").mkdir()
    with pytest.raises(InputError, match=r"lcc\.jsonl cannot be read"):
        files.check(tmp_path, "lcc")


def test_a_damaged_archive_is_named(tmp_path):
    file = tmp_path / "data.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/hotpotqa.jsonl", json.dumps(GOOD) * 50)
    raw = bytearray(file.read_bytes())
    raw[60:90] = bytes(30)
    file.write_bytes(raw)
    with pytest.raises(InputError, match=r"data\.zip/data/hotpotqa\.jsonl cannot be read"):
        files.check(tmp_path, "hotpotqa")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_whatever_byte_of_an_archive_is_damaged_it_is_read_or_named(tmp_path_factory, compression, place, byte):
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "data.zip", "w", compression) as archive:
        archive.writestr("data/hotpotqa.jsonl", json.dumps(GOOD) + "\n" + json.dumps(GOOD))
    raw = bytearray((folder / "data.zip").read_bytes())
    raw[int(place * len(raw))] = byte
    (folder / "data.zip").write_bytes(raw)
    with suppress(InputError):
        files.check(folder, "hotpotqa")


@pytest.mark.parametrize(
    ("error", "says"), [(EOFError(), "it ends too early"), (lzma.LZMAError("Corrupt input data"), "Corrupt input data")]
)
def test_what_a_decompressor_says_is_one_line(tmp_path, monkeypatch, error, says):
    def broken(archive, member):
        raise error

    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("data/hotpotqa.jsonl", json.dumps(GOOD))
    monkeypatch.setattr(zipfile.ZipFile, "open", broken)
    with pytest.raises(InputError, match=rf"data\.zip/data/hotpotqa\.jsonl cannot be read: {says}"):
        files.check(tmp_path, "hotpotqa")


def test_the_data_is_where_the_user_says(tmp_path):
    assert files.find(tmp_path) == tmp_path
    with pytest.raises(InputError, match="is not a folder: expected one with files"):
        files.find(tmp_path / "none")


def test_without_a_folder_it_is_the_hub_cache_s_snapshot(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"give --data DIR, .* or run `hf download --repo-type dataset zai-org/LongBench`"
    ):
        files.find(None)
    repo = tmp_path / "datasets--THUDM--LongBench"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123")
    (repo / "snapshots" / "0123").mkdir(parents=True)
    assert files.find(None) == repo / "snapshots" / "0123"


def test_templates_are_beside_the_data_or_elsewhere(tmp_path):
    templates(tmp_path, hotpotqa="{context} {input} {{x}}")
    elsewhere = tmp_path / "other.json"
    elsewhere.write_text(json.dumps({"hotpotqa": "{context}"}))
    assert files.template(tmp_path, "hotpotqa") == "{context} {input} {{x}}"
    assert files.template(tmp_path, "hotpotqa", elsewhere) == "{context}"


def test_what_an_example_holds_is_never_taken_for_a_field():
    example = LongBenchExample("{input} {0}", "a } b", ("x",), None)
    assert files.fill("{{{context}}}: {input}", example) == "{{input} {0}}: a } b"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{input}", "has {input}: expected {context} and perhaps {input}"),
        ("no field", "has no field: expected {context}"),
        ("{context} {answers}", "has {answers}, {context}: expected"),
        ("{context.__class__}", "has {context.__class__}: expected"),
        ("{context} {context:>9999999999}", "has {context:>9999999999}, {context}: expected"),
        ("{context!r}", "has {context!r}: expected"),
        ("{context} {}", "has {context}, {}: expected"),
        ("{context", "is malformed: expected '}' before end of string"),
        ("context}", "is malformed: Single '}' encountered"),
        (3, 'has no template for hotpotqa: expected {"hotpotqa": "… {context} … {input}"}'),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(tmp_path, template, says):
    templates(tmp_path, hotpotqa=template)
    with pytest.raises(InputError) as caught:
        files.template(tmp_path, "hotpotqa")
    assert says in str(caught.value)
    assert "dataset2prompt.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"there is no .*dataset2prompt\.json: put LongBench's config"),
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "has no template for hotpotqa"),
        (b"{}", "has no template for hotpotqa"),
    ],
)
def test_a_file_of_templates_that_is_none_is_refused(tmp_path, content, says):
    if content is not None:
        (tmp_path / "dataset2prompt.json").write_bytes(content)
    with pytest.raises(InputError, match=says):
        files.template(tmp_path, "hotpotqa")
