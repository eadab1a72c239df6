"""Records survive interruptions, full disks and other writers, and say what is wrong with a file that is not one."""

import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv import records
from maskkv.errors import InputError
from maskkv.records import Journal

RECORDS = st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=3), max_size=4)


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@contextmanager
def room_for(size):
    """Let no file grow beyond a number of bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_appended_is_read_back_in_order(tmp_path):
    file = tmp_path / "deep" / "records.jsonl"
    records.append(file, {"a": 1})
    records.append(file, {"b": "ü"})
    assert list(records.read(file)) == [{"a": 1}, {"b": "ü"}]
    assert file.read_text() == '{"a": 1}\n{"b": "ü"}\n'


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


def test_a_record_that_lacks_only_its_newline_is_one_and_stays(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text('{"a": 1}\n{"b": 2}')
    assert list(records.read(file)) == [{"a": 1}, {"b": 2}]
    records.append(file, {"c": 3})
    assert file.read_text() == '{"a": 1}\n{"b": 2}\n{"c": 3}\n'


@given(RECORDS, st.integers(min_value=0), RECORDS)
def test_wherever_a_file_ends_what_was_read_stays_when_more_is_added(tmp_path_factory, whole, cut, more):
    file = tmp_path_factory.mktemp("cut") / "records.jsonl"
    lines = [json.dumps(record, ensure_ascii=False).encode() for record in whole]
    content = b"".join(line + b"\n" for line in lines)
    end = cut % (len(content) + 1)
    file.write_bytes(content[:end])
    complete = sum(sum(map(len, lines[: index + 1])) + index <= end for index in range(len(lines)))
    assert list(records.read(file)) == whole[:complete]
    with Journal(file) as journal:
        journal.extend(more)
    assert list(records.read(file)) == [*whole[:complete], *more]


def test_a_long_line_that_was_cut_off_is_replaced_whole(tmp_path):
    file = tmp_path / "records.jsonl"
    long = {"text": "x" * 200_000}
    for record in ({"a": 1}, long):
        records.append(file, record)
    with file.open("r+b") as lines:
        lines.truncate(file.stat().st_size - 10)
    records.append(file, {"b": 2})
    records.append(file, long)
    assert list(records.read(file)) == [{"a": 1}, {"b": 2}, long]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"not json", "not a JSON object"),
        (b"[1]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (b'{"a": 1', "not a JSON object"),
        (b'{"a": "\xff"}', "not UTF-8, and so not a JSON object"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "a JSON object of more than 64 levels"),
    ],
)
def test_another_malformed_line_is_named(tmp_path, line, says):
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"a": 1}\n\n' + line + b'\n{"b": 2}\n')
    with pytest.raises(InputError) as caught:
        list(records.read(file))
    assert str(caught.value) == f"{file}, line 3: {says}; expected one a line"


@pytest.mark.parametrize(
    "last",
    [
        *(b"notes of mine", b"[1]", b"3", b"\xff\xfe"),
        # A record with more behind it is not to be lost.
        *(b'{"c": 3}\0\0', b'{"c": 3} {"d": 4}', b'{"c": 3}}', b'{"c": "\xff"}'),
    ],
)
def test_an_end_that_is_no_beginning_of_a_record_is_refused_and_stays(tmp_path, last):
    file = tmp_path / "records.jsonl"
    content = b'{"a": 1}\n' + last
    file.write_bytes(content)
    with pytest.raises(InputError, match="line 2: not "):
        list(records.read(file))
    with pytest.raises(InputError, match="last line: not "):
        records.append(file, {"b": 2})
    with pytest.raises(InputError, match="last line: not "):
        records.prepare_file(file)
    assert file.read_bytes() == content


def test_sixty_four_levels_are_not_too_many(tmp_path):
    file = tmp_path / "records.jsonl"
    record = {"a": json.loads("[" * 63 + "1" + "]" * 63)}
    records.append(file, record)
    assert list(records.read(file)) == [record]


def test_what_json_has_no_word_for_is_null(tmp_path):
    file = tmp_path / "records.jsonl"
    records.append(file, {"a": [float("nan"), {"b": (float("inf"), 1.5)}]})
    assert file.read_text() == '{"a": [null, {"b": [null, 1.5]}]}\n'


def test_a_name_that_is_no_text_is_read_back(tmp_path):
    file = tmp_path / "records.jsonl"
    records.append(file, {"model": "\\\udcff"})
    assert list(records.read(file)) == [{"model": "\\\udcff"}]


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    for act in (lambda: list(records.read(tmp_path)), lambda: records.append(tmp_path, {}), lambda: Journal(tmp_path)):
        with pytest.raises(InputError, match="Is a directory"):
            act()
    (tmp_path / "file").touch()
    for act in (records.prepare_file, lambda file: records.append(file, {})):
        with pytest.raises(InputError, match="cannot write"):
            act(tmp_path / "file" / "records.jsonl")


def test_a_device_in_place_of_a_file_is_refused_and_stays():
    with pytest.raises(InputError, match="no regular file"):
        records.append(Path(os.devnull), {})
    assert Path(os.devnull).exists()


def test_on_a_full_disk_all_that_was_there_stays_and_nothing_else(tmp_path):
    file = tmp_path / "records.jsonl"
    records.append(file, {"a": 1})
    held = file.read_bytes()
    with room_for(60):
        with (
            pytest.raises(InputError, match=r"cannot write .*records\.jsonl: File too large"),
            Journal(file) as journal,
        ):
            journal.extend([{"b": 2}, {"c": "x" * 100}])
        with pytest.raises(InputError, match=r"cannot write .*s\.jsonl: File too large"):
            records.update(file, lambda old: [*old, {"c": "x" * 100}])
    assert (names(tmp_path), file.read_bytes()) == (["records.jsonl"], held)
    with room_for(10), pytest.raises(InputError, match="File too large"):
        records.append(tmp_path / "other.jsonl", {"c": "x" * 100})
    assert names(tmp_path) == ["records.jsonl"]


def test_a_full_disk_does_not_cost_the_record_that_lacks_its_newline(tmp_path):
    file = tmp_path / "records.jsonl"
    file.write_text('{"a": 1}')
    with room_for(20), pytest.raises(InputError, match="File too large"):
        records.append(file, {"b": "x" * 100})
    assert list(records.read(file)) == [{"a": 1}]


def test_one_run_at_a_time_writes_and_everybody_reads(tmp_path):
    file = tmp_path / "records.jsonl"
    with Journal(file) as journal:
        journal.extend([{"a": 1}])
        with pytest.raises(InputError, match=r"another run writes to .*records\.jsonl: wait until it has ended"):
            Journal(file)
        assert list(records.read(file)) == [{"a": 1}]
        records.append(tmp_path / "other.jsonl", {"b": 2})  # a shard's own file
    records.append(file, {"b": 2})
    assert list(records.read(file)) == [{"a": 1}, {"b": 2}]


def test_a_run_that_is_killed_holds_nothing(tmp_path):
    file = tmp_path / "records.jsonl"
    hold = "from maskkv.records import Journal; from pathlib import Path; import sys, time\n"
    hold += "journal = Journal(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", hold, file], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(InputError, match="another run writes to"):
                Journal(file)
        finally:
            other.kill()
    records.append(file, {"a": 1})
    assert list(records.read(file)) == [{"a": 1}]


def test_those_who_add_at_once_lose_nothing(tmp_path):
    file = tmp_path / "records.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: records.append(file, {"n": number}), range(40)))
    assert sorted(record["n"] for record in records.read(file)) == list(range(40))


def test_a_link_stays_one_and_rights_stay_what_they_were(tmp_path):
    real, link = tmp_path / "elsewhere.jsonl", tmp_path / "records.jsonl"
    real.write_bytes(b'{"a": 1}\n')
    real.chmod(0o640)
    link.symlink_to(real)
    assert records.update(link, lambda old: [*old, {"b": 2}]) == [{"a": 1}, {"b": 2}]
    assert link.is_symlink()
    assert real.read_bytes() == b'{"a": 1}\n{"b": 2}\n'
    assert real.stat().st_mode & 0o777 == 0o640


def test_those_who_change_at_once_lose_nothing(tmp_path):
    file = tmp_path / "records.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: records.update(file, lambda old: [*old, {"n": number}]), range(20)))
    assert sorted(record["n"] for record in records.read(file)) == list(range(20))
    assert names(tmp_path) == ["records.jsonl"]


def test_a_file_that_was_moved_away_meanwhile_is_begun_anew(tmp_path):
    file = tmp_path / "records.jsonl"
    with Journal(file) as journal:
        journal.extend([{"a": 1}])
        file.rename(tmp_path / "old.jsonl")
        journal.extend([{"b": 2}])
        with pytest.raises(InputError, match="another run writes to"):
            Journal(file)
    assert list(records.read(file)) == [{"b": 2}]
    assert list(records.read(tmp_path / "old.jsonl")) == [{"a": 1}]


def test_a_file_that_goes_away_while_it_is_opened_is_not_the_one_that_is_held(tmp_path, monkeypatch):
    file, hold, opened = tmp_path / "records.jsonl", records._hold, []

    def late(lines):
        opened.append(lines)
        if len(opened) == 1:  # the one before found nothing to write, and removed its new file
            file.unlink()
        return hold(lines)

    monkeypatch.setattr(records, "_hold", late)
    with Journal(file):
        assert file.exists()
        with pytest.raises(InputError, match="another run writes to"):
            Journal(file)


def test_a_new_file_without_a_record_is_not_left_behind(tmp_path):
    file, own = tmp_path / "records.jsonl", tmp_path / "own.jsonl"
    own.touch()
    for each in (file, own):
        with Journal(each):
            assert each.exists()
    assert names(tmp_path) == ["own.jsonl"]


def test_the_environment_names_versions_and_threads():
    found = records.environment()
    assert {"maskkv", "torch", "transformers", "tokenizers", "python", "threads", "commit"} <= found.keys()
