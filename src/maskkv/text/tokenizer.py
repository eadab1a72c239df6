"""Text to token ids and back, from a checkpoint's own tokenizer files; none of its code is run.

Text that a user gives is only ever text: what looks like a special token in it (`<|mdm_mask|>`, `<|eot_id|>`) is
spelled out in ordinary tokens, in prompts and in chat messages alike. Special tokens come from the tokenizer's
post-processor and from the chat template. (A closed vocabulary has one spelling of a word: there the token stays.)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer

from maskkv.checkpoints import tokenizer_files
from maskkv.checkpoints.tokenizer_checks import failures
from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.text.templates import ChatTemplate, shown
from maskkv.text.words import words_per_token

_BLANKS = re.compile(r"\s*")
_FAILS = "the checkpoint's tokenizer fails on this text"


class Token(NamedTuple):
    """A token of a prompt with the text it stands for; of a special token that is its name."""

    id: int
    text: str
    special: bool = False


class Text:
    """Encode prompts and conversations, decode responses."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None = None,
        named_tokens: Mapping[str, str] | None = None,
        thinking: bool | None = None,
    ) -> None:
        """Take over the tokenizer; `named_tokens` (`bos_token`, ...) and `thinking` are what the template is told."""
        begin = (named_tokens or {}).get("bos_token")
        self.begin_id: int | None = None if begin is None else tokenizer.token_to_id(begin)
        """The token that begins a text, if the checkpoint names one."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._special = {
            token.content: (number, token) for number, token in added.items() if token.special and token.content
        }
        special, named = list(self._special), named_tokens or {}
        self._template = None if template is None else ChatTemplate(template, special, named, thinking)
        # The longest first, as the tokenizer matches them. Without groups: with one for each, all of them are tried
        # at every character.
        longest_first = sorted(self._special, key=len, reverse=True)
        self._token = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    @classmethod
    def load(cls, folder: Path, thinking: bool | None = None) -> Text:
        """Read the tokenizer and the chat template of a model folder.

        Raises:
            CheckpointError: the folder has no tokenizer, or a broken one.
        """
        return cls(*tokenizer_files.read(folder), thinking)

    @property
    def has_chat_template(self) -> bool:
        """Say whether the checkpoint knows conversations; base models often do not."""
        return self._template is not None

    @property
    def chat_template(self) -> str | None:
        """Return the checkpoint's chat template, a Jinja program, if it has one."""
        return None if self._template is None else self._template.source

    def encode(self, text: str) -> list[int]:
        """Encode a prompt as it stands, with what the tokenizer puts around it.

        Raises:
            InputError: the text is empty, not valid Unicode, or has words outside a closed vocabulary.
        """
        return list(self._encoded([_filled(text)], whole=True)[0].ids)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Encode a conversation, up to where the assistant's answer begins.

        Raises:
            CheckpointError: the checkpoint has no chat template.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        return self.encode_rendered(self.render(messages))

    def tokens(self, text: str) -> list[Token]:
        """Cut a prompt into the tokens that `encode` returns; their texts joined are the prompt."""
        return _cut(text, self._encoded([_filled(text)], whole=True)[0])

    def chat_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[Token]:
        """Cut a conversation into the tokens that `chat` returns; their texts joined are what its template wrote."""
        return self._rendered_tokens(self.render(messages))

    def render(self, messages: Sequence[Mapping[str, str]], *, continue_last: bool = False) -> str:
        """Write a conversation as the chat template does, for `encode_rendered`.

        `continue_last` leaves the last message open, for an answer that goes on from there. In special tokens that a
        message spells out, a character is hidden in what is returned.

        Raises:
            CheckpointError: the checkpoint has no chat template.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        if self._template is None:
            raise CheckpointError("this checkpoint has no chat template; give it a plain prompt")
        return self._template.render(messages, continue_last=continue_last)

    def encode_rendered(self, rendered: str, then: str = "") -> list[int]:
        """Encode what `render` returned; only here are special tokens taken for what they are.

        In `then`, with which the text goes on, they are text.
        """
        return [token.id for token in self._rendered_tokens(rendered, then)]

    def least_tokens(self, text: str) -> int:
        """Return how many tokens a prompt has at least, without encoding it."""
        return self._least([text])

    def least_rendered(self, rendered: str) -> int:
        """Return how many tokens `encode_rendered` makes at least, without encoding anything."""
        texts, special = self._parts(rendered)
        return len(special) + self._least(texts)

    def _least(self, texts: Sequence[str]) -> int:
        most = self._words_per_token
        return 0 if most is None else sum(-(-len(text.split()) // most) for text in texts)

    @cached_property
    def _words_per_token(self) -> int | None:
        return words_per_token(self._tokenizer)

    def _rendered_tokens(self, rendered: str, then: str = "") -> list[Token]:
        texts, special = self._parts(rendered)
        texts[-1] += then
        tokens: list[Token] = []
        for text, encoding, token in zip_longest(texts, self._encoded(texts), special):
            tokens += _cut(text, encoding)
            if token is not None:
                tokens.append(token)
        return tokens

    def _parts(self, rendered: str) -> tuple[list[str], list[Token]]:
        """Split what `render` returned into its special tokens and the texts before, between and behind them.

        A special token takes the blanks with it that the tokenizer would let it take.
        """
        texts: list[str] = []
        special: list[Token] = []
        done = 0
        for found in self._token.finditer(rendered):
            number, token = self._special[found[0]]
            before = rendered[done : found.start()]
            texts.append(before.rstrip() if token.lstrip else before)
            start, done = done + len(texts[-1]), max(done, found.end())
            if token.rstrip:
                done = _after_blanks(rendered, done)
            special.append(Token(number, rendered[start:done], special=True))
        return [shown(text) for text in (*texts, rendered[done:])], special

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        with failures(InputError, _FAILS):
            return self._tokenizer.decode(list(ids))

    def decode_response(self, response: Sequence[int], eos_ids: Collection[int]) -> str:
        """Return the text of a response up to its first end token.

        Without one its length ended it: then a character at the end, of which only some bytes are there, is left out.
        """
        said = before_end(response, eos_ids)
        text = self.decode(said)
        return text if len(said) < len(response) else whole_characters(text)

    def piece(self, token: int) -> str:
        """Return what one token stands for, special ones by their names; part of a character reads as U+FFFD."""
        with failures(InputError, _FAILS):
            return self._tokenizer.decode([token], skip_special_tokens=False)

    def _encoded(self, texts: list[str], whole: bool = False) -> list[Encoding]:
        """Encode texts on their own; other threads go on meanwhile, as they do not while `Tokenizer.encode` runs."""
        try:
            with failures(InputError, _FAILS, but=TypeError):
                encodings: list[Encoding] = self._tokenizer.encode_batch(texts, add_special_tokens=whole)
        except TypeError:
            # What the tokenizer says of a string that has no UTF-8 form.
            raise InputError("the text holds half a surrogate pair: it is not valid Unicode") from None
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        if unknown is not None:
            pairs = zip(texts, encodings, strict=True)
            words = dict.fromkeys(word for text, each in pairs for word in _spelled(unknown, text, each))
            if words:
                raise InputError(_unknown_words(list(words)))
        return encodings


def before_end(response: Sequence[int], eos_ids: Collection[int]) -> list[int]:
    """Return the tokens of a response up to its first end token, all of them if it has none."""
    return list(takewhile(lambda token: token not in eos_ids, response))


def whole_characters(text: str) -> str:
    """Leave out the end of a text that may be a character of which only some bytes are there."""
    return text.rstrip("�")


def _cut(text: str, encoding: Encoding) -> list[Token]:
    """Give each token its part of the text, from where the one before ends; the last one takes what is left.

    Of a character that several tokens make up, the first has all. What the tokenizer put around has its name.
    """
    # Each of these makes its whole list anew whenever it is asked for.
    ids, names, offsets, added = encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask
    last = max((index for index, put in enumerate(added) if not put), default=None)
    tokens: list[Token] = []
    done = 0
    for index, (number, name, (_, end), put) in enumerate(zip(ids, names, offsets, added, strict=True)):
        if put:
            tokens.append(Token(number, name, special=True))
            continue
        start, done = done, len(text) if index == last else max(done, end)
        tokens.append(Token(number, text[start:done]))
    return tokens


def _spelled(token: str, text: str, encoding: Encoding) -> Iterator[str]:
    """Yield what stands in a text where the tokenizer has this token."""
    if token in (names := encoding.tokens):
        yield from (
            text[start:end] for name, (start, end) in zip(names, encoding.offsets, strict=True) if name == token
        )


def _filled(text: str) -> str:
    check_text(text)
    if not text.strip():
        raise InputError("the prompt is empty; give it some text")
    return text


def _after_blanks(text: str, start: int) -> int:
    blanks = _BLANKS.match(text, start)
    return start if blanks is None else blanks.end()


def _unknown_words(words: list[str]) -> str:
    more = f" and {len(words) - 5:,} more" if len(words) > 5 else ""
    return (
        f"words that the model does not know: {', '.join(map(quoted, words[:5]))}{more}; the bundled model reads "
        "documents from `maskkv sample`; `--model` takes a real checkpoint"
    )


def check_text(prompt: object) -> None:
    """Raise InputError unless a prompt is text."""
    if not isinstance(prompt, str):
        raise InputError(f"the prompt is {quoted(prompt)}: expected text; token ids go to `generate_ids`")
