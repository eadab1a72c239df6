"""The bundled checkpoint: its files, its tokenizer, and that it really answers."""

import json

import pytest

import maskkv
from maskkv import mini
from maskkv.errors import InputError
from maskkv.mini import words
from maskkv.text.tokenizer import Text
from maskkv.training.export import config
from maskkv.training.init import Shape


@pytest.fixture(scope="module")
def text() -> Text:
    return Text.load(mini.folder())


def test_the_folder_is_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in mini.folder().iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "MODEL_CARD.md"} <= set(
        files
    )
    assert sum(files.values()) <= 15e6


def test_the_config_is_what_training_writes() -> None:
    shipped = json.loads((mini.folder() / "config.json").read_text())
    assert shipped == config(Shape(len(words.VOCABULARY)), shipped["max_sequence_length"])
    assert shipped["model_type"] == "llada"


def test_token_ids_are_the_vocabulary_in_order(text: Text) -> None:
    said = [word for word in words.VOCABULARY if word not in words.SPECIAL]
    assert text.encode(" ".join(said)) == [words.VOCABULARY.index(word) for word in said]


@pytest.mark.parametrize("task", mini.TASKS)
def test_a_message_becomes_the_prompt_that_was_trained(text: Text, task: str) -> None:
    made = mini.sample(task, 200, 9)
    assert text.chat([{"role": "user", "content": made.content}]) == text.encode(made.prompt)
    assert text.decode(text.encode(made.prompt)) == made.prompt


def test_people_may_write_as_people_do(text: Text) -> None:
    assert text.encode("Anna holds what?\n12") == text.encode("anna holds what ? 1 2")


def test_unknown_words_are_named(text: Text) -> None:
    with pytest.raises(InputError, match="zebra"):
        text.encode("anna holds a zebra .")


def test_it_answers_most_questions_about_short_documents() -> None:
    llm = maskkv.load(policy="none")
    samples = [mini.sample("multi-key", 200, seed) for seed in range(12)]
    right = sum(mini.score(made, llm.generate(made.content, gen_length=made.gen_length).text) for made in samples)
    assert right >= 9
