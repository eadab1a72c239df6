"""Facts in the lines of configuration files, logs and tables."""

import csv
import json
import tomllib
from configparser import ConfigParser
from random import Random
from types import ModuleType

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maskkv.reading import command_help, config_phrasings, configs, log_phrasings, log_story_phrasings, logs, tables
from maskkv.reading.asking import ask
from maskkv.reading.config_keys import setting
from maskkv.reading.fact import Block, Phrasings
from maskkv.reading.table_kinds import KINDS

MODULES = (configs, logs, tables)
PHRASINGS = {
    name: value
    for module in (config_phrasings, log_phrasings, log_story_phrasings, tables)
    for name, value in vars(module).items()
    if isinstance(value, Phrasings)
}
COUNTS = st.integers(1, 25)
SEEDS = st.integers(0, 2**32)


def lines(block: Block) -> list[str]:
    return [line.strip().rstrip(",") for line in block.text.split("\n")]


def files(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make some files of one format of configuration alone."""
    monkeypatch.setattr(configs, "FORMATS", {name: configs.FORMATS[name]})
    texts = [configs.block(Random(seed), seed % 9 + 1, False).text for seed in range(25)]
    return [text for text in texts if not text.startswith("Usage:")]


@pytest.mark.parametrize("module", MODULES)
@settings(max_examples=25)
@given(seed=SEEDS, count=COUNTS, unseen=st.booleans())
def test_a_line_answers_its_question_and_no_other(module: ModuleType, seed: int, count: int, unseen: bool) -> None:
    block = module.block(Random(seed), count, unseen)
    assert len(block.facts) == count == len({fact.key for fact in block.facts})
    assert len({fact.question for fact in block.facts}) == count
    for fact in block.facts:
        assert fact.value in fact.text
        assert lines(block).count(fact.text) == 1
        assert fact.value.lower() not in fact.question.lower()
        assert not any(fact.value in other.text for other in block.facts if other is not fact)
        assert len(fact.text.split()) <= 25
        assert "{" not in fact.question
        assert fact.question[-1] in "?."


@pytest.mark.parametrize("module", MODULES)
@settings(max_examples=8)
@given(seed=SEEDS, count=COUNTS, unseen=st.booleans())
def test_equal_seeds_make_equal_blocks(module: ModuleType, seed: int, count: int, unseen: bool) -> None:
    assert module.block(Random(seed), count, unseen) == module.block(Random(seed), count, unseen)


@pytest.mark.parametrize("module", MODULES)
def test_blocks_of_a_hundred_lines_are_possible(module: ModuleType) -> None:
    assert len(module.block(Random(5), 100, False).facts) == 100


@pytest.mark.parametrize("phrasings", PHRASINGS.values(), ids=PHRASINGS.keys())
def test_there_are_24_phrasings_the_last_quarter_held_out(phrasings: Phrasings) -> None:
    every = {phrasing.lower() for phrasing in phrasings.training + phrasings.held_out}
    assert len(every) >= 24
    assert not set(phrasings.training) & set(phrasings.held_out)
    assert len(set(phrasings.held_out)) * 4 >= len(every)


@pytest.mark.parametrize("phrasings", PHRASINGS.values(), ids=PHRASINGS.keys())
def test_unseen_questions_use_the_held_out_phrasings_alone(phrasings: Phrasings) -> None:
    names = dict.fromkeys("name section option purpose source topic noun deed happened column entity".split(), "x")
    for unseen, allowed in ((True, phrasings.held_out), (False, phrasings.training)):
        asked = {ask(Random(seed), phrasings, unseen, "4417", **names) for seed in range(50)}
        assert asked <= {phrasing.format(**names) for phrasing in allowed}


def test_a_phrasing_that_holds_the_value_is_not_drawn() -> None:
    phrasings = Phrasings(("What is on {name}?", "Which value has {name}?"), ("Is {name} on?",))
    assert {ask(Random(seed), phrasings, False, "On", name="x") for seed in range(20)} == {"Which value has x?"}


def test_questions_of_columns_in_other_words_are_held_out_too() -> None:
    for kind in KINDS:
        for column in kind.columns:
            assert not set(column.training) & set(column.held_out)
            assert bool(column.training) == bool(column.held_out)


def test_settings_have_more_than_a_thousand_names() -> None:
    rng = Random(0)
    assert len({setting(rng).words for _ in range(2500)}) > 1000


def test_a_name_in_two_sections_is_asked_for_with_its_section() -> None:
    twins = 0
    for seed in range(150):
        facts = configs.block(Random(seed), 12, False).facts
        names = [fact.key.rpartition(".")[2] for fact in facts if fact.text[0] != "-"]
        for fact in facts:
            section, _, name = fact.key.rpartition(".")
            if names.count(name) > 1 and "." not in section and section:
                twins += 1
                assert section in fact.question
    assert twins > 10


@pytest.mark.parametrize("name", ["toml", "toml-kebab"])
def test_toml_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(tomllib.loads(text) for text in files(name, monkeypatch))


@pytest.mark.parametrize("name", ["json", "json-snake"])
def test_json_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(json.loads(text) for text in files(name, monkeypatch))


@pytest.mark.parametrize("name", ["yaml", "yaml-kebab"])
def test_yaml_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(isinstance(yaml.safe_load(text), dict) for text in files(name, monkeypatch))


@pytest.mark.parametrize("name", ["ini", "ini-switches"])
def test_ini_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in files(name, monkeypatch):
        reader = ConfigParser(interpolation=None)
        reader.read_string(text if text.startswith("[") else f"[top]\n{text}")
        assert reader.sections()


def test_help_lists_every_option_once() -> None:
    block = command_help.options(Random(3), 20, False)
    flags = [line.split()[0] for line in block.text.split("\n")[3:]]
    assert len(set(flags)) == len(flags) == 20


def test_rows_have_as_many_cells_as_the_header() -> None:
    for seed in range(60):
        block = tables.block(Random(seed), 6, False)
        table = [line for line in block.text.split("\n") if line][-8:]
        if table[-1].startswith("| "):
            assert len({line.count("|") for line in table}) == 1
        else:
            delimiter = ";" if ";" in table[-1] else ","
            rows = list(csv.reader(block.text.split("\n"), delimiter=delimiter))
            assert len(rows) == 7
            assert len({len(row) for row in rows}) == 1
            assert all(fact.value in row for fact, row in zip(block.facts, rows[1:], strict=True))


def test_times_of_a_log_are_in_order() -> None:
    for seed in range(10):
        entries = logs._entries(Random(seed), 20)
        times = [entry.time for entry in entries]
        assert times == sorted(set(times))
