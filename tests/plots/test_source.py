"""Records are found, chosen by their fields, and never trusted to be of the right kind."""

import json

import pytest

from maskkv.errors import InputError
from maskkv.plots import source


def write(file, *records):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def test_a_folder_gives_the_records_of_all_its_files(tmp_path):
    write(tmp_path / "b.jsonl", {"number": 3})
    write(tmp_path / "a" / "deep.jsonl", {"number": 1}, {"number": 2})
    write(tmp_path / "b.answers-1-of-2.jsonl", {"number": 4})
    (tmp_path / "notes.txt").write_text("no records")
    assert [record["number"] for record in source.load(tmp_path)] == [1, 2, 3]
    assert source.load(tmp_path / "b.jsonl") == [{"number": 3}]


def test_what_holds_no_records_is_named(tmp_path):
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "folder.jsonl").mkdir(parents=True)
    for name, says in (
        ("none", "there is no"),
        ("empty", "holds no records"),
        ("binary.jsonl", "not UTF-8"),
        ("deep", "folder.jsonl: Is a directory"),
    ):
        with pytest.raises(InputError, match=f"{says}.*{name}|{name}.*{says}"):
            source.load(tmp_path / name)


RECORDS = [
    {"task": "a", "budget": 4, "schedule": {"seed": 0}},
    {"task": "a", "budget": None, "schedule": {"seed": 1}},
    {"task": "b", "budget": 16, "schedule": {"seed": 0}},
    {"other": True},
]


@pytest.mark.parametrize(
    ("conditions", "chosen"),
    [
        ([], [0, 1, 2, 3]),
        (["task=a"], [0, 1]),
        (["task=a", "budget=4"], [0]),
        (["budget=4", "budget=16"], [0, 2]),
        (["budget=null"], [1]),
        (["schedule.seed=0"], [0, 2]),
        (["other=true"], [3]),
        (["task.deeper=a"], []),
    ],
)
def test_conditions_choose(conditions, chosen):
    assert source.where(RECORDS, conditions) == [RECORDS[index] for index in chosen]


@pytest.mark.parametrize("condition", ["task", "=a", ""])
def test_a_condition_without_a_field_and_a_value_is_refused(condition):
    with pytest.raises(InputError, match="expected FIELD=VALUE"):
        source.where(RECORDS, [condition])


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (source.number, "many"), (source.number, True), (source.number, float("nan")), (source.number, source.MISSING),
        (source.positive, 0), (source.positive, -1.5), (source.whole, 0), (source.whole, 1.5),
        (source.text, 3), (source.text, None),
        (lambda record, name: source.grid(record, name, 2), [1.0, 2.0]),
        (lambda record, name: source.grid(record, name, 2), [[1.0], [2.0, 3.0]]),
        (lambda record, name: source.grid(record, name, 1), ["x" * 100]),
        (lambda record, name: source.grid(record, name, 1), []),
        (lambda record, name: source.grid(record, name, 1), [float("inf")]),
        (source.number, 10**400), (source.whole, 10**400),
        (lambda record, name: source.grid(record, name, 1), [10**400]),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_named_in_one_short_line(read, value):
    with pytest.raises(InputError, match=r"a record's field it is .*: expected") as caught:
        read({} if value is source.MISSING else {"it": value}, "it")
    assert len(str(caught.value)) < 120


def test_fields_of_the_right_kind_are_given_back():
    record = {"number": 3, "none": None, "text": "x", "rows": [[1, 2], [3, 4]]}
    assert (source.number(record, "number"), source.whole(record, "none"), source.text(record, "text")) == (
        3.0,
        None,
        "x",
    )
    assert source.grid(record, "rows", 2).tolist() == [[1.0, 2.0], [3.0, 4.0]]
