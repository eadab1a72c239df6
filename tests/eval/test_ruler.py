"""RULER's generated tasks: a reader who knows only the prompt finds the references, and it is as long as it may be."""

import re
from collections import Counter
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv import policies
from maskkv.errors import InputError
from maskkv.eval import ruler, runs
from maskkv.eval.benchmark import Chosen
from maskkv.eval.ruler import KINDS, RulerTask, _most, references_found
from maskkv.eval.runs import Study
from maskkv.generation import Generation
from maskkv.loading import Loading
from tests.eval.examples import run

names = st.sampled_from(sorted(KINDS))
units = st.integers(1, 300)
seeds = st.integers(0, 10**6)


def reader(name, prompt):
    """Answer as a careful reader does, from the text alone."""
    if name in ("niah_single_1", "niah_multikey_2", "niah_multikey_3"):
        key = re.search(r"What is the special magic \w+ for (\S+) that", prompt)[1]
        return set(re.findall(rf"for {re.escape(key)} is: (\S+)\.", prompt))
    if name == "vt":
        value = re.search(r"have the value (\d+)", prompt)[1]
        values = {}
        for new, old in re.findall(r"VAR (\w+) = (?:VAR )?(\w+)", prompt):
            values[new] = values.get(old, old)
        return {variable for variable, given in values.items() if given == value}
    if name == "cwe":
        counts = Counter(re.findall(r"\d+\. (\w+ \w+)", prompt.splitlines()[1]))
        return {entry for entry, _ in counts.most_common(10)}
    counts = Counter(prompt.splitlines()[1].split())
    ranking = counts.most_common(5)
    assert ranking[0][0] == "...."
    assert len({count for _, count in ranking}) == 5, "no two may be equally frequent"
    return {word for word, _ in ranking[1:4]}


@given(names, units, seeds)
def test_a_reader_who_knows_only_the_prompt_finds_the_references(name, units, seed):
    made = KINDS[name].write(units, Random(seed))
    assert reader(name, made.text) == set(made.references)


@given(names, seeds)
def test_the_same_arguments_make_the_same_prompt_and_others_another(name, seed):
    write = KINDS[name].write
    assert write(50, Random(seed)) == write(50, Random(seed))
    assert write(50, Random(seed)).text != write(50, Random(seed + 1)).text


@pytest.mark.parametrize("name", ["niah_single_1", "niah_multikey_2", "niah_multikey_3", "vt", "fwe"])
def test_a_prompt_fills_the_length_and_never_exceeds_it(speller, name):
    # A unit is a line of at most 100 characters, and a model that spells has a token per character.
    made = RulerTask(name, 1500, range(3)).example(speller, 1)
    assert 1400 < len(made.prompt) <= 1500
    assert made.score("; ".join(reader(name, speller.text.decode(made.prompt)))) == 1.0


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_longest_prompt_is_found_without_encoding_many_others(speller, monkeypatch, name):
    length = 8000
    told = []
    monkeypatch.setattr(speller, "prompt_ids", lambda prompt: told.append(prompt) or list(prompt.encode()))
    made = RulerTask(name, length, range(3)).example(speller, 1)
    assert sum(map(len, told)) < 6 * length  # a dozen lengths, were the search to double and halve
    assert max(map(len, told)) < 2 * length

    def written(units):
        return KINDS[name].write(units, Random(f"{name}/1")).text

    too_many = next(units for units in count(2) if len(written(units)) > length)
    assert bytes(made.prompt).decode() == written(too_many - 1)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(0, 2000))
def test_the_most_that_fits_is_found_on_any_rising_line(growth, room):
    def size(units):
        asked.append(units)
        whole, rest = divmod(units - 1, len(growth))
        return 7 + whole * (sum(growth) + 1) + sum(growth[:rest])

    asked = []
    found = _most(size, 7, 7 + room)
    assert size(found) <= 7 + room < size(found + 1)
    assert len(asked) < 40


def test_a_straight_line_is_met_at_once():
    asked = []
    assert _most(lambda units: asked.append(units) or 100 + 7 * units, 107, 4096) == 570
    assert len(asked) <= 4


def test_a_length_without_room_is_refused_with_one_that_has(speller):
    with pytest.raises(InputError, match=r"length 100 is too short for vt: expected at least (\d+) tokens") as refused:
        RulerTask("vt", 100, [0]).example(speller, 0)
    least = int(re.search(r"least (\d+)", str(refused.value))[1])
    assert len(RulerTask("vt", least, [0]).example(speller, 0).prompt) == least


def test_the_score_is_the_share_of_references_contained_in_any_case():
    assert references_found(["AB", "12"], "xx ab") == 0.5
    assert references_found(["AB", "12"], "12aB") == 1.0
    assert references_found(["AB"], "") == 0.0


def test_the_catalogue_is_rulers_six_tasks_without_data(llm):
    tasks = ruler.tasks(llm, Chosen(lengths=[512, 1024], n=2, first_seed=5))
    assert [task.name for task in tasks[:6]] == [
        "niah_single_1",
        "niah_multikey_2",
        "niah_multikey_3",
        "vt",
        "cwe",
        "fwe",
    ]
    assert [task.length for task in tasks] == [512] * 6 + [1024] * 6
    assert tasks[0].numbers == range(5, 7)


def test_the_bundled_vocabulary_is_told_what_reads_this(llm):
    with pytest.raises(InputError, match=r"words that the model does not know: .*`--model` takes a real checkpoint"):
        RulerTask("vt", 512, [0]).example(llm, 0)


def test_the_whole_pipeline_runs(speller, tmp_path):
    variants = runs.variants([policies.named("full"), policies.named("maskkv")], [16])
    study = Study(variants, Generation(block_length=16, steps=4))
    found = run(speller, Loading(), tmp_path, [RulerTask("vt", 600, range(1))], study)
    assert [(each["benchmark"], each["task"], each["n"]) for each in found] == [("ruler", "vt", 1)] * 2
    assert all(0.0 <= each["score"] <= 1.0 and each["gen_length"] == 32 for each in found)
