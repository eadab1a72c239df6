"""The published needle by its token arithmetic, and the bundled model's own."""

from dataclasses import replace

import pytest

from maskkv.errors import InputError
from maskkv.eval import haystack, niah
from maskkv.eval.benchmark import Chosen
from maskkv.eval.niah import OwnNeedle, PublishedNeedle, words_found
from maskkv.mini import words

LENGTH = 700
HIDDEN = f"\n\n{niah.NEEDLE}\n\n"  # as many tokens as characters, for one who spells
COUNT = LENGTH - 200 - len(HIDDEN)


@pytest.mark.parametrize(("depth", "place"), [(0, 0), (33, int(COUNT * 0.33)), (50, COUNT // 2), (100, COUNT)])
def test_the_needle_stands_at_its_token_of_the_context(speller, depth, place):
    text = "abcdefghij" * 100
    example = PublishedNeedle(LENGTH, depth, [0], text).example(speller, 0)
    prompt = speller.text.decode(example.prompt)
    story = prompt.partition("<book> ")[2].partition(" </book>")[0]
    assert story == text[:place] + HIDDEN + text[place:COUNT]
    assert prompt.startswith("This is a very long story book")
    assert prompt.endswith(f"Question: {niah.QUESTION}\nAnswer: {niah.CUE}")
    assert len(story) + 200 == LENGTH
    assert len(example.prompt) <= LENGTH + 50  # what is put around story and question takes 250 characters


def test_a_generated_haystack_is_prose_and_the_seeds_own(speller):
    task = PublishedNeedle(LENGTH, 50, range(2))
    first, again, second = (speller.text.decode(task.example(speller, seed).prompt) for seed in (0, 0, 1))
    assert first == again != second
    assert first.partition("<book> ")[2].startswith("The ")


def test_a_short_haystack_is_said_again(speller):
    assert speller.text.decode(haystack.tokens(speller, "ab", 8)) == "ab\nab\nab"


def test_special_tokens_in_a_haystack_are_nothing(speller):
    text = f"one {words.MASK}two" * 100
    story = speller.text.decode(PublishedNeedle(LENGTH, 0, [0], text).example(speller, 0).prompt)
    assert words.MASK not in story
    assert speller.model.config.mask_id not in PublishedNeedle(LENGTH, 0, [0], text).example(speller, 0).prompt


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("to eat a sandwich and sit in Dolores Park on a sunny day!", 1.0),
        ("Eat a Sandwich", 3 / 11),
        ("", 0.0),
        ("unsandwiched", 0.0),
    ],
)
def test_the_score_is_the_share_of_the_expected_words(said, share):
    # eat, a, sandwich, and, sit, in, dolores, park, on, sunny, day
    assert words_found(said) == pytest.approx(share)


def test_the_published_grid_is_13_lengths_by_10_depths_up_to_the_trained_length(speller):
    tasks = niah.tasks(speller, Chosen())
    assert len(tasks) == 130
    assert sorted({task.length for task in tasks})[-1] == 4096
    assert [task.depth for task in tasks[:10]] == [0, 11, 22, 33, 44, 56, 67, 78, 89, 100]
    assert {task.metric for task in tasks} == {"words found"}


def test_a_closed_vocabulary_gets_needles_of_its_own(llm):
    tasks = niah.tasks(llm, Chosen(lengths=[64], depths=[0, 100], first_seed=7, n=2))
    assert tasks == [OwnNeedle(64, 0, range(7, 9)), OwnNeedle(64, 100, range(7, 9))]
    example = tasks[0].example(llm, 7)
    answer = llm.text.decode(example.prompt[:6])
    assert example.score(answer) == 1.0
    assert example.score("anna holds") == 0.0


def test_answers_belong_to_a_haystack(tmp_path, speller):
    file = tmp_path / "book.txt"
    file.write_text("once upon a time", encoding="utf-8")
    generated = Chosen(lengths=[LENGTH], depths=[50])
    (task,) = niah.tasks(speller, replace(generated, haystack=[str(file)]))
    (other,) = niah.tasks(speller, replace(generated, haystack=[str(file), str(file)]))
    assert task.settings["haystack"] != other.settings["haystack"]
    assert niah.tasks(speller, generated)[0].settings["haystack"] is None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"depths": [101]}, "depth 101: expected a percentage"),
        ({"haystack": ["no-such-file"]}, "cannot read the haystack no-such-file"),
        ({"haystack": ["no-such-file"], "n": 2}, "-n 2: the haystack makes one prompt"),
    ],
)
def test_what_cannot_be_hidden_is_refused(speller, asked, says):
    with pytest.raises(InputError, match=says):
        niah.tasks(speller, Chosen(**asked))


def test_a_prompt_without_room_for_the_needle_is_refused(speller):
    with pytest.raises(InputError, match=f"at least {200 + len(HIDDEN) + 1} tokens"):
        PublishedNeedle(200 + len(HIDDEN), 50, [0]).example(speller, 0)
