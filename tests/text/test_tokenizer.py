import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Encoding, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from maskkv.errors import CheckpointError, InputError
from maskkv.text.tokenizer import Text

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "user assistant system",
    "What is 12 + 30? It's forty-two.",
] * 3
LLADA_TEMPLATE = (
    "{% for message in messages %}{% set turn = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set turn = bos_token + turn %}{% endif %}"
    "{{ turn }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLADA_SPECIAL = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|mdm_mask|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>")
USER = [{"role": "user", "content": "What is the quick fox? "}]


def byte_level() -> Tokenizer:
    """Train a small byte-level BPE."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def llada_tokenizer() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in LLADA_SPECIAL])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    return tokenizer


@pytest.fixture(scope="module")
def llada_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llada")
    llada_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": "<|startoftext|>",
        "eos_token": {"content": "<|endoftext|>"},
        "chat_template": LLADA_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what Dream publishes: two files, added tokens, and a tokenizer class that is remote code."""
    folder = tmp_path_factory.mktemp("dream")
    tokenizer = byte_level()
    tokenizer.model.save(str(folder))
    first = tokenizer.get_vocab_size()
    added = {
        str(first + index): {
            "content": token, "special": True, "normalized": False,
            "lstrip": False, "rstrip": False, "single_word": False,
        }
        for index, token in enumerate(QWEN_SPECIAL)
    }  # fmt: skip
    config = {
        "added_tokens_decoder": added,
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "chat_template": QWEN_TEMPLATE,
        "eos_token": "<|endoftext|>",
        "bos_token": "<|endoftext|>",
        "tokenizer_class": "DreamTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenization_dream.py").write_text("raise SystemExit('remote code ran')")
    return folder


@pytest.fixture(scope="module")
def llada(llada_folder: Path) -> Text:
    return Text.load(llada_folder)


@pytest.fixture(scope="module")
def dream(qwen_folder: Path) -> Text:
    return Text.load(qwen_folder)


@pytest.fixture(scope="module")
def mini() -> Text:
    return closed()


def closed() -> Text:
    """Make a closed vocabulary of words."""
    words = ("<unk>", "<mask>", "<eos>", "the", "key", "of", "anna", "is", "7", ".")
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["<unk>", "<mask>", "<eos>"])
    return Text(tokenizer)


def reference(folder: Path) -> Any:
    """Let transformers read the same files with its own classes."""
    if (folder / "tokenizer.json").exists():
        config = json.loads((folder / "tokenizer_config.json").read_text())
        return PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            bos_token=config["bos_token"],
            eos_token=config["eos_token"]["content"],
            chat_template=config["chat_template"],
        )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    theirs = Qwen2Tokenizer(
        vocab=str(folder / "vocab.json"),
        merges=str(folder / "merges.txt"),
        bos_token="<|endoftext|>",
        chat_template=config["chat_template"],
    )
    theirs.add_tokens([AddedToken(token, special=True, normalized=False) for token in QWEN_SPECIAL])
    return theirs


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))


@given(text=TEXTS)
def test_tokens_share_out_the_prompt(llada: Text, dream: Text, text: str) -> None:
    for each in (llada, dream):
        tokens = each.tokens(text)
        assert [token.id for token in tokens] == each.encode(text)
        assert "".join(token.text for token in tokens) == text
        assert not any(token.special for token in tokens)


def test_a_token_has_its_own_part_of_the_text(mini: Text, llada: Text) -> None:
    assert [token.text for token in mini.tokens(" the  key\nof anna ")] == [" the", "  key", "\nof", " anna "]
    # Four tokens of one byte each make up one character.
    assert [token.text for token in llada.tokens("a😀b")] == ["a", "😀", "", "", "", "b"]


def test_tokens_of_a_conversation_name_the_special_ones(llada: Text) -> None:
    tokens = llada.chat_tokens([{"role": "user", "content": "a <|eot_id|>"}])
    assert "".join(token.text for token in tokens) == (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\na <|eot_id|><|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    special = [token.text for token in tokens if token.special]
    assert special == ["<|startoftext|>", *["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], *special[1:3]]


@given(text=TEXTS)
def test_plain_text_is_encoded_as_transformers_does(
    llada: Text, dream: Text, llada_folder: Path, qwen_folder: Path, text: str
) -> None:
    for ours, folder in ((llada, llada_folder), (dream, qwen_folder)):
        assert ours.encode(text) == reference_of(folder)(text)["input_ids"]


_REFERENCES: dict[Path, Any] = {}


def reference_of(folder: Path) -> Any:
    return _REFERENCES.setdefault(folder, reference(folder))


CONVERSATIONS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXTS}),
    min_size=1,
    max_size=4,
)


@given(messages=CONVERSATIONS)
def test_conversations_are_encoded_as_transformers_does(
    llada: Text, dream: Text, llada_folder: Path, qwen_folder: Path, messages: list[dict[str, str]]
) -> None:
    for ours, folder in ((llada, llada_folder), (dream, qwen_folder)):
        theirs = reference_of(folder).apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ours.chat(messages) == theirs


def test_a_conversation_by_hand(llada_folder: Path, llada: Text) -> None:
    tokenizer = Tokenizer.from_file(str(llada_folder / "tokenizer.json"))
    rendered = (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nWhat is the quick fox?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert llada.render(USER) == rendered
    assert llada.chat(USER) == tokenizer.encode(rendered).ids
    assert llada.has_chat_template
    assert llada.chat_template == LLADA_TEMPLATE


def test_a_last_message_is_left_open_for_what_goes_on_from_it(llada: Text, dream: Text) -> None:
    messages = [*USER, {"role": "assistant", "content": "It is <|eot_id|>"}]
    for text, end in ((llada, "assistant<|end_header_id|>\n\n"), (dream, "assistant\n")):
        ids = text.encode_rendered(text.render(messages, continue_last=True))
        # What a message spells out stays text there as well.
        opened = text.encode_rendered(text.render(USER))
        assert ids == opened + text.encode("It is <|eot_id|>")
        assert text.render(USER).endswith(end)


@pytest.mark.parametrize("literal", ["<|mdm_mask|>", "a<|eot_id|>b", " <|mdm_mask|><|mdm_mask|> ", "<|endoftext|>"])
def test_special_tokens_that_a_user_spells_are_text(llada_folder: Path, llada: Text, literal: str) -> None:
    tokenizer = Tokenizer.from_file(str(llada_folder / "tokenizer.json"))
    special = {tokenizer.token_to_id(token) for token in LLADA_SPECIAL}
    ids = llada.encode(f"the {literal} fox")
    assert special.isdisjoint(ids)
    assert llada.decode(ids) == f"the {literal} fox"
    conversations = [[{"role": "user", "content": text}] for text in ("x", literal)]
    counts = [sum(token in special for token in llada.chat(messages)) for messages in conversations]
    assert counts == [6, 6]
    role = llada.chat([{"role": literal, "content": "x"}])
    assert sum(token in special for token in role) == 6


@given(
    parts=st.lists(st.sampled_from([*LLADA_SPECIAL, "\ufdd0", "\ufdd00;", "0;", " fox", "é", "<|", "|>"]), min_size=1)
)
def test_no_message_can_forge_a_token_or_lose_a_character(llada: Text, parts: list[str]) -> None:
    content = "".join(parts)
    if not content.strip():
        return
    ids = llada.chat([{"role": "user", "content": content}])
    frame = llada.chat([{"role": "user", "content": "x"}])
    special = set(frame[:2]) | {frame[-1]}
    assert [token for token in ids if token in special and token != frame[-1]].count(frame[0]) == 1
    assert content.strip() in llada.decode(ids)


def test_added_tokens_that_are_not_special_stay_one_token(llada: Text) -> None:
    assert len(llada.encode("<tool_call>")) == 1
    assert llada.decode(llada.encode("<tool_call>")) == "<tool_call>"


def test_blanks_that_a_token_swallows_are_swallowed(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(
        [AddedToken("<|a|>", special=True, rstrip=True), AddedToken("<|b|>", lstrip=True, special=True)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    template = "<|a|>  \n{{ messages[0]['content'] }}  <|b|> x"
    (tmp_path / "chat_template.jinja").write_text(template)
    expected = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("<|a|>  \nfox  <|b|> x").ids
    assert Text.load(tmp_path).chat([{"role": "user", "content": "fox"}]) == expected


PIECES = ("<|a|>", "<|b|>", "<|ab|>", " <|c|>", "<|a|", "|>", " ", "\n", "fox", "\t")


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_special_tokens_stand_where_the_tokenizer_finds_them(rendered: str) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(
        [
            AddedToken("<|a|>", special=True, rstrip=True),
            AddedToken("<|b|>", special=True, lstrip=True),
            AddedToken("<|ab|>", special=True, lstrip=True, rstrip=True),
            AddedToken(" <|c|>", special=True),
        ]
    )
    expected = tokenizer.encode(rendered).ids
    text = Text(tokenizer)
    assert text.encode_rendered(rendered) == expected
    assert "".join(token.text for token in text._rendered_tokens(rendered)) == rendered


def test_a_character_is_not_tried_for_every_special_token() -> None:
    """A group for each of them would be, and a pattern of blanks starts anew at every blank."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens([AddedToken(f"<|{n}|>", special=True, lstrip=True, rstrip=True) for n in range(300)])
    text = Text(tokenizer)
    assert text._token.groups == 0
    assert text._token.search(" " * 100) is None
    # A million characters at hand take a moment; as it was before, they took minutes.
    assert text.least_rendered("the fox " * 60_000 + " " * 500_000 + "<|7|>") == 1 + 120_000


def test_special_tokens_of_the_post_processor_are_for_plain_prompts_only(tmp_path: Path) -> None:
    tokenizer = llada_tokenizer()
    bos = tokenizer.token_to_id("<|startoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A", special_tokens=[("<|startoftext|>", bos)]
    )
    text = Text(tokenizer, "{{ messages[0]['content'] }}")
    assert text.encode("fox") == [bos, *text.chat([{"role": "user", "content": "fox"}])]


def test_a_tokenizer_s_own_truncation_and_padding_are_off() -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    text = Text(tokenizer)
    assert text.decode(text.encode(" ".join(CORPUS))) == " ".join(CORPUS)
    assert len(text.encode("fox")) < 4


def test_qwen2_ids_are_those_that_the_files_say(qwen_folder: Path, dream: Text) -> None:
    vocabulary = json.loads((qwen_folder / "vocab.json").read_text())
    frame = dream.chat([{"role": "system", "content": "x"}])
    assert frame[0] == len(vocabulary) + 1
    assert frame.count(len(vocabulary) + 2) == 1
    assert dream.encode("x") == [vocabulary["x"]]
    assert dream.encode("cafe\u0301") == dream.encode("caf\u00e9")


def test_the_older_added_tokens_file_is_read(qwen_folder: Path, tmp_path: Path, dream: Text) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text((qwen_folder / name).read_text())
    first = len(json.loads((tmp_path / "vocab.json").read_text()))
    (tmp_path / "added_tokens.json").write_text(json.dumps({token: first + i for i, token in enumerate(QWEN_SPECIAL)}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": list(QWEN_SPECIAL)}))
    (tmp_path / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    older = Text.load(tmp_path)
    assert older.chat(USER) == dream.chat(USER)
    assert older.encode("a <|mask|> b") == dream.encode("a <|mask|> b")


def test_misnumbered_added_tokens_are_refused(qwen_folder: Path, tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_text((qwen_folder / name).read_text())
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|mask|>": 9999}))
    with pytest.raises(CheckpointError, match=r"added token '<\|mask\|>' gets id \d+, expected 9999"):
        Text.load(tmp_path)


def test_unknown_words_of_a_closed_vocabulary_are_named(mini: Text) -> None:
    assert mini.encode("the key of anna is 7 .") == [3, 4, 5, 6, 7, 8, 9]
    with pytest.raises(InputError) as refusal:
        mini.encode("the weather of paris is the weather")
    assert str(refusal.value) == (
        "words that the model does not know: 'weather', 'paris'; the bundled model reads documents from "
        "`maskkv sample`; `--model` takes a real checkpoint"
    )
    with pytest.raises(InputError, match="'a', 'b', 'c', 'd', 'e' and 2 more;"):
        mini.encode("a b c d e f g a")
    assert mini.encode("the <mask>") == [3, 1]  # it has no other spelling


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_empty_prompts_are_refused(llada: Text, text: str) -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        llada.encode(text)
    with pytest.raises(InputError, match="the last message is empty"):
        llada.chat([{"role": "user", "content": text}])
    with pytest.raises(InputError, match="the conversation is empty"):
        llada.chat([])


def test_text_that_is_no_unicode_is_refused(llada: Text) -> None:
    with pytest.raises(InputError, match="not valid Unicode"):
        llada.encode("a\ud800b")
    with pytest.raises(InputError, match="not valid Unicode"):
        llada.chat([{"role": "user", "content": "a\ud800b"}])


def test_malformed_messages_are_refused(llada: Text) -> None:
    with pytest.raises(InputError, match="a message needs a role and a content, both strings"):
        llada.chat([{"role": "user"}])


def test_a_checkpoint_without_a_chat_template_says_so(llada_folder: Path) -> None:
    text = Text(Tokenizer.from_file(str(llada_folder / "tokenizer.json")))
    assert not text.has_chat_template
    with pytest.raises(CheckpointError, match="no chat template; give it a plain prompt"):
        text.chat(USER)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for %}", "cannot render"),
        ("{{ messages[0].content.__class__.__mro__ }}", "cannot render"),
        ("{{ nothing.there }}", "undefined"),
    ],
)
def test_a_template_that_fails_is_one_line(template: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refusal:
        Text(llada_tokenizer(), template).chat(USER)
    assert "\n" not in str(refusal.value)


def test_named_templates_and_the_template_s_own_file(llada_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text((llada_folder / "tokenizer.json").read_text())
    named = [{"name": "rag", "template": "rag"}, {"name": "default", "template": "fox"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    text = Text.load(tmp_path)
    assert text.chat(USER) == text.encode("fox")
    (tmp_path / "chat_template.jinja").write_text("dog")
    assert Text.load(tmp_path).chat(USER) == text.encode("dog")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt"),
        ({"vocab.json": "{}"}, "has no tokenizer"),
        ({"tokenizer.json": "{}"}, "tokenizer.json is not a tokenizer"),
        ({"tokenizer.json": "\x00"}, "tokenizer.json cannot be read as JSON"),
        ({"vocab.json": "{", "merges.txt": ""}, "are not a tokenizer"),
        ({"tokenizer_config.json": "{"}, "cannot be read as JSON"),
    ],
)
def test_broken_tokenizers_are_refused(files: dict[str, str], said: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=said) as refusal:
        Text.load(tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_piece_is_what_one_token_stands_for(llada: Text) -> None:
    pieces = [llada.piece(token) for token in llada.encode("the fox")]
    assert "".join(pieces) == "the fox"
    assert llada.piece(llada.chat(USER)[0]) == "<|startoftext|>"
    assert {llada.piece(token) for token in llada.encode("é")} == {"\ufffd"}


def test_plain_prompts_do_not_import_transformers(llada_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from maskkv.text.tokenizer import Text; "
        f"Text.load(Path({str(llada_folder)!r})).encode('fox'); sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=300).returncode == 0


class Counted:
    """Count how often the lists of an encoding are asked for: each time they are made anew."""

    __class__ = property(lambda self: Tokenizer)  # type: ignore[assignment]

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode_batch(self, texts: list[str], **options: Any) -> list[Any]:
        self.asked["encode_batch"] += 1
        return [CountedEncoding(each, self.asked) for each in self._tokenizer.encode_batch(texts, **options)]


class CountedEncoding:
    __class__ = property(lambda self: Encoding)  # type: ignore[assignment]

    def __init__(self, encoding: Any, asked: Counter[str]) -> None:
        self._encoding, self._asked = encoding, asked

    def __getattr__(self, name: str) -> Any:
        self._asked[name] += 1
        return getattr(self._encoding, name)


@pytest.mark.parametrize("make", [llada_tokenizer, lambda: closed()._tokenizer], ids=["bytes", "words"])
def test_what_is_asked_of_the_tokenizer_does_not_grow_with_the_prompt(make: Any) -> None:
    counted = Counted(make())
    text = Text(counted, "{{ messages[0]['content'] }}")
    asked = []
    for words in (50, 200):
        counted.asked.clear()
        prompt = "the key " * words
        assert "".join(token.text for token in text.tokens(prompt)) == prompt
        assert len(text.encode(prompt)) >= 2 * words
        assert len(text.chat([{"role": "user", "content": prompt}])) >= 2 * words
        asked.append(dict(counted.asked))
    assert asked[0] == asked[1]
    assert asked[0]["encode_batch"] == 3
    assert max(asked[0].values()) <= 6


def test_a_conversation_is_encoded_in_one_go(llada_folder: Path) -> None:
    counted = Counted(llada_tokenizer())
    text = Text(counted, LLADA_TEMPLATE, {"bos_token": "<|startoftext|>"})
    assert text.chat(USER * 50)
    assert counted.asked["encode_batch"] == 1


def test_other_threads_go_on_while_a_prompt_is_encoded(llada: Text) -> None:
    """`Tokenizer.encode` would let none of them do anything before it is done."""
    prompt = "the quick fox jumps " * 20_000
    done = threading.Event()
    thread = threading.Thread(target=lambda: (llada._encoded([prompt]), done.set()))
    turns = 0
    thread.start()
    while not done.is_set():
        turns += 1
        done.wait(0.001)
    thread.join()
    assert turns >= 5


WORDY = st.text(st.sampled_from("ab 日é\u0301\u00a0\u3000\u1680\x1c\n\t<|>1.\ufdd0"), max_size=40)


@given(text=st.one_of(TEXTS, WORDY.filter(lambda text: bool(text.strip()))))
def test_no_prompt_has_fewer_tokens_than_is_said_of_it_at_least(llada: Text, dream: Text, text: str) -> None:
    for each in (llada, dream):
        assert each.least_tokens(text) <= len(each.encode(text))
        rendered = each.render([*USER, {"role": "user", "content": text}])
        assert each.least_rendered(rendered) <= len(each.encode_rendered(rendered))


def test_words_and_special_tokens_are_what_a_prompt_has_at_least(llada: Text, mini: Text) -> None:
    assert llada.least_tokens("a  fox\njumps ") == 3
    rendered = llada.render([{"role": "user", "content": "a fox"}])
    assert llada.least_rendered(rendered) == len(("<|s|>", "<|h|>", "user", "<|h|>", "a", "fox", "<|e|>")) + 3
    assert mini.least_tokens("the key") == 2
    # A token of two words may take the place of two.
    tokenizer = llada_tokenizer()
    tokenizer.add_tokens([AddedToken("quick fox", special=False)])
    two = Text(tokenizer)
    assert len(two.encode("quick fox")) == two.least_tokens("quick fox") == 1


@pytest.mark.parametrize("loss", ["normalizer", "pre-tokenizer", "model", "alphabet", "decoder"])
def test_nothing_is_said_where_words_may_vanish(loss: str) -> None:
    if loss == "model":
        tokenizer = Tokenizer(BPE({"a": 0, "b": 1}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer = byte_level() if loss != "alphabet" else Tokenizer(BPE({"a": 0, "b": 1}, []))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        if loss == "normalizer":
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("b", "")])
        if loss == "pre-tokenizer":
            removed = pre_tokenizers.Split("b", "removed")
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([removed, pre_tokenizers.ByteLevel()])
        if loss == "decoder":
            tokenizer.decoder = decoders.Fuse()
    text = Text(tokenizer)
    assert text.least_tokens("b z b z b z") == 0


def test_long_words_that_are_not_known_are_quoted_in_part(mini: Text) -> None:
    with pytest.raises(InputError) as refusal:
        mini.encode(f"the {'x' * 10**6} of {'y' * 79} {'z' * 78}")
    assert f"'{'x' * 78}…, '{'y' * 78}…, '{'z' * 78}'; the" in str(refusal.value)
    with pytest.raises(InputError, match="'q4' and 1,995 more;"):
        mini.encode(" ".join(f"q{number}" for number in range(2000)))


def test_unknown_words_of_all_messages_are_named() -> None:
    text = Text(closed()._tokenizer, "{% for each in messages %}{{ each['content'] }}<eos>{% endfor %}")
    with pytest.raises(InputError, match="'a', 'b';"):
        text.chat([{"role": "user", "content": "the a"}, {"role": "user", "content": "key b"}])
