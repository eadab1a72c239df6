"""Records survive interruptions and say what is wrong with a file that is not one."""

import pytest

from maskkv import records
from maskkv.errors import InputError


def test_what_was_appended_is_read_back_in_order(tmp_path):
    file = tmp_path / "deep" / "records.jsonl"
    records.append(file, {"a": 1})
    records.append(file, {"b": "ü"})
    assert list(records.read(file)) == [{"a": 1}, {"b": "ü"}]


def test_a_missing_file_holds_nothing(tmp_path):
    assert list(records.read(tmp_path / "none.jsonl")) == []


def test_a_line_cut_off_by_an_interruption_is_left_out_and_then_replaced(tmp_path):
    file = tmp_path / "records.jsonl"
    records.append(file, {"a": 1})
    with file.open("a") as lines:
        lines.write('{"b": 2, "sc')
    assert list(records.read(file)) == [{"a": 1}]
    records.append(file, {"c": 3})
    assert list(records.read(file)) == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("line", ["not json", "[1]", "3"])
def test_another_malformed_line_is_named(tmp_path, line):
    file = tmp_path / "records.jsonl"
    file.write_text(f'{{"a": 1}}\n{line}\n{{"b": 2}}\n')
    with pytest.raises(InputError, match="line 2: not a JSON object"):
        list(records.read(file))


def test_the_environment_names_versions_and_threads():
    found = records.environment()
    assert {"maskkv", "torch", "transformers", "tokenizers", "python", "threads", "commit"} <= found.keys()
