import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maskkv.checkpoints import tokenizer_checks
from maskkv.errors import CheckpointError, InputError
from maskkv.text.tokenizer import Text

BASE: dict[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": None, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
}  # fmt: skip
BPE: dict[str, Any] = {
    "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
    "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": {"a": 0, "b": 1, "ab": 2},
    "merges": ["a b"],
}  # fmt: skip


def load(folder: Path, **parts: object) -> Text:
    (folder / "tokenizer.json").write_text(json.dumps({**BASE, **parts}))
    return Text.load(folder)


def replace(pattern: dict[str, str], content: str) -> dict[str, object]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(kind: str, *steps: object) -> dict[str, object]:
    return {"type": "Sequence", kind: list(steps)}


def charsmap(size: int) -> dict[str, str]:
    content = size.to_bytes(4, "little") + bytes(4) + b"x\0"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {"X": {"id": "X", "ids": [0], "tokens": ["a"]}}}
DOUBLED = replace({"String": "a"}, "aa")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"normalizer": sequence("normalizers", *[DOUBLED] * 40)}, "its normalizer may make more than 2000 characters"),
        ({"normalizer": sequence("normalizers", *[sequence("normalizers", DOUBLED)] * 11)}, "may make more than 2000"),
        ({"normalizer": replace({"String": "a"}, "a" * 2001)}, "may make more than 2000"),
        ({"normalizer": replace({"Regex": "b*"}, "a" * 2000)}, "may make more than 2000"),
        ({"normalizer": replace({"String": ""}, "a" * 2000)}, "may make more than 2000"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 2000}}, "may make more than 2000"),
        (
            {"normalizer": sequence("normalizers", *[{"type": "NFKC"}, replace({"String": " "}, "\ufdfa")] * 3)},
            "may make more than 2000",
        ),
        ({"pre_tokenizer": sequence("pretokenizers", *[BYTES] * 11)}, "its pre_tokenizer may make more than 2000"),
        ({"decoder": sequence("decoders", *[DOUBLED] * 40)}, "its decoder may make more than 2000"),
        ({"normalizer": {"pattern": {"String": "a"}, "content": "aa"}}, "one of its parts has no type"),
        ({"normalizer": charsmap(0xFFFFFFF0)}, "precompiled_charsmap is damaged"),
        ({"normalizer": charsmap(0)}, "precompiled_charsmap is damaged"),
        ({"normalizer": charsmap(7)}, "precompiled_charsmap is damaged"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": None}}, "precompiled_charsmap is damaged"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "é"}}, "precompiled_charsmap is damaged"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "pieces of length 0"),
        ({"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "Y"}}]}}, "refers to .*'Y'"),
        ({"post_processor": {**TEMPLATE, "single": [{"Sequence": {"id": "B", "type_id": 0}}]}}, "refers to .*'B'"),
        (
            {
                "post_processor": {
                    **TEMPLATE,
                    "special_tokens": {"X": {"id": "X", "ids": [0, 1], "tokens": ["a"]}},
                    "single": [{"SpecialToken": {"id": "X", "type_id": 0}}],
                }
            },
            "refers to .*'X'",
        ),
        ({"model": {**BASE["model"], "unk_token": "?"}}, r"its unk_token '\?' is not in its vocabulary"),
        (
            {"model": {"type": "WordPiece", "vocab": {"a": 0}, "max_input_chars_per_word": 9}},
            "unk_token None is not in",
        ),
        ({"model": {**BPE, "unk_token": "?"}}, r"its unk_token '\?' is not in its vocabulary"),
        ({"model": {**BPE, "continuing_subword_prefix": "####"}}, "its merge 'a b' lacks the prefix '####'"),
        ({"model": {**BPE, "continuing_subword_prefix": "##", "merges": [["a", "b"]]}}, "lacks the prefix '##'"),
        ({"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": None}}, "its model has no unk_id"),
        ({"model": {"type": "Unheard"}}, "none of BPE, Unigram, WordLevel and WordPiece"),
        ({"model": None}, "none of BPE"),
        ({"added_tokens": [{}] * 10_001}, "it has 10001 added tokens; supported: at most 10000"),
    ],
)
def test_what_would_not_end_or_ends_the_process_is_refused(parts: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said) as refusal:
        load(tmp_path, **parts)
    assert str(tmp_path / "tokenizer.json") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < len(str(tmp_path)) + 600


@pytest.mark.parametrize(
    "parts",
    [
        {"model": BPE},
        {"model": {name: value for name, value in BPE.items() if name != "type"}},
        {"model": {**BPE, "unk_token": "b"}},
        {"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0}},
        {"normalizer": sequence("normalizers", *[DOUBLED] * 10)},
        {
            # As several published tokenizers begin.
            "normalizer": sequence(
                "normalizers",
                *(replace({"String": "``"}, '"'), {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
                replace({"Regex": " {2,}"}, " "),
            )
        },
        {"normalizer": sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁"))},
        {"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "X", "type_id": 0}}]}},
    ],
)
def test_what_is_published_is_taken(parts: dict[str, Any], tmp_path: Path) -> None:
    assert not load(tmp_path, **parts).has_chat_template


def test_a_tokenizer_s_padding_takes_no_memory(tmp_path: Path) -> None:
    """It would abort the process, so that another one tries."""
    padding = {
        "strategy": {"Fixed": 10**15}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "a",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps({**BASE, "padding": padding}))
    program = (
        "from pathlib import Path; from maskkv.text.tokenizer import Text; "
        f"print(Text.load(Path({str(tmp_path)!r})).encode('a'))"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=300, capture_output=True, text=True)
    assert done.stdout == "[0]\n"


def test_a_panic_on_a_text_is_an_error_of_that_text(tmp_path: Path) -> None:
    text = load(
        tmp_path,
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False},
    )
    for _ in range(2):
        with pytest.raises(InputError, match=r"the checkpoint's tokenizer fails on this text: .*retry-limit"):
            text.encode("x" * 40)
    assert text.encode("a") == [0]


def test_a_panic_while_decoding_is_an_error(tmp_path: Path) -> None:
    text = load(tmp_path, decoder={"type": "Strip", "content": "a", "start": 1, "stop": 1})
    for decode in (lambda: text.decode([0]), lambda: text.piece(0)):
        with pytest.raises(InputError, match="the checkpoint's tokenizer fails on this text"):
            decode()


def test_a_panic_on_any_text_is_an_error_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the tokenizer fails on any text: index out of bounds"):
        load(tmp_path, normalizer={"type": "Precompiled", "precompiled_charsmap": "CAAAAAAAAQAAAAEA"})


def test_only_failures_of_the_library_are_turned() -> None:
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(kind), tokenizer_checks.failures(CheckpointError, "x"):
            raise kind
    with pytest.raises(InputError, match=r"^mine$"), tokenizer_checks.failures(CheckpointError, "x"):
        raise InputError("mine")
    with pytest.raises(TypeError), tokenizer_checks.failures(CheckpointError, "x", but=TypeError):
        raise TypeError
    with pytest.raises(CheckpointError, match=r"^x: a\\nb$"), tokenizer_checks.failures(CheckpointError, "x"):
        raise RuntimeError("a\nb")


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"],
)
def test_no_pipe_is_waited_for(name: str, tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name} cannot be read.*: it is no regular file"):
        Text.load(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "added_tokens.json"])
def test_no_pipe_is_waited_for_in_the_other_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="it is no regular file"):
        Text.load(tmp_path)


def test_the_other_layout_s_added_tokens_are_counted(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("")
    (tmp_path / "added_tokens.json").write_text(json.dumps({f"<{number}>": number for number in range(1, 10_002)}))
    with pytest.raises(CheckpointError, match="has 10001 added tokens; supported: at most 10000"):
        Text.load(tmp_path)


@pytest.mark.parametrize(
    "listed",
    [
        [{"template": "x"}],
        [{"name": "default"}],
        [{"name": ["default"], "template": "x"}],
        [{"name": "default", "template": None}],
        [{"name": "default", "template": "x"}, {"name": "default", "template": "y"}],
        [{"name": "rag", "template": "x"}, "default"],
        [[["default", "x"]]],
    ],
)
def test_a_list_of_templates_has_a_name_and_a_template_each(listed: list[object], tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    with pytest.raises(CheckpointError, match=r"chat_template lists .*; supported: a name and a template each") as said:
        load(tmp_path)
    assert "\n" not in str(said.value)


def test_templates_of_which_none_is_the_default_are_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": [{"name": "rag", "template": "x"}]}')
    assert not load(tmp_path).has_chat_template
