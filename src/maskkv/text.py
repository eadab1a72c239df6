"""Text to token ids and back, from a checkpoint's own tokenizer files; none of its code is run.

Text that a user gives is only ever text: what looks like a special token in it (`<|mdm_mask|>`, `<|eot_id|>`) is
spelled out in ordinary tokens, in prompts and in chat messages alike. Special tokens come from the tokenizer's
post-processor and from the chat template. (A closed vocabulary has one spelling of a word: there the token stays.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Encoding, Tokenizer

from maskkv import tokenizer_files
from maskkv.errors import CheckpointError, InputError
from maskkv.templates import ChatTemplate, shown
from maskkv.tokenizer_checks import failures

_FAILS = "the checkpoint's tokenizer fails on this text"


class Token(NamedTuple):
    """A token of a prompt with the text it stands for; of a special token that is its name."""

    id: int
    text: str
    special: bool = False


class Text:
    """Encode prompts and conversations, decode responses."""

    def __init__(
        self, tokenizer: Tokenizer, template: str | None = None, named_tokens: Mapping[str, str] | None = None
    ) -> None:
        """Take over the tokenizer; `named_tokens` (`bos_token`, ...) are what the template may refer to."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        special = [token for token in added.values() if token.special and token.content]
        self._special_ids = {token.content: number for number, token in added.items() if token.special}
        literals = [token.content for token in special]
        self._template = None if template is None else ChatTemplate(template, literals, named_tokens or {})
        # The longest first, as the tokenizer matches them.
        longest_first = sorted(special, key=lambda token: -len(token.content))
        self._token = re.compile("|".join(map(_pattern, longest_first)) or "(?!)")

    @classmethod
    def load(cls, folder: Path) -> Text:
        """Read the tokenizer and the chat template of a model folder.

        Raises:
            CheckpointError: the folder has no tokenizer, or a broken one.
        """
        return cls(*tokenizer_files.read(folder))

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
        return [token.id for token in self.tokens(text)]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Encode a conversation, up to where the assistant's answer begins.

        Raises:
            CheckpointError: the checkpoint has no chat template.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        return self.encode_rendered(self.render(messages))

    def tokens(self, text: str) -> list[Token]:
        """Cut a prompt into the tokens that `encode` returns; their texts joined are the prompt."""
        if not text.strip():
            raise InputError("the prompt is empty; give it some text")
        return self._encode(text, whole=True)

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

    def encode_rendered(self, rendered: str) -> list[int]:
        """Encode what `render` returned; only here are special tokens taken for what they are."""
        return [token.id for token in self._rendered_tokens(rendered)]

    def _rendered_tokens(self, rendered: str) -> list[Token]:
        tokens: list[Token] = []
        end = 0
        for found in self._token.finditer(rendered):
            tokens += self._encode(shown(rendered[end : found.start()]))
            tokens.append(Token(self._special_ids[found[found.lastindex or 0]], found[0], special=True))
            end = found.end()
        return tokens + self._encode(shown(rendered[end:]))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        with failures(InputError, _FAILS):
            return self._tokenizer.decode(list(ids))

    def piece(self, token: int) -> str:
        """Return what one token stands for, special ones by their names; part of a character reads as U+FFFD."""
        with failures(InputError, _FAILS):
            return self._tokenizer.decode([token], skip_special_tokens=False)

    def _encode(self, text: str, whole: bool = False) -> list[Token]:
        try:
            with failures(InputError, _FAILS, but=TypeError):
                encoding = self._tokenizer.encode(text, add_special_tokens=whole)
        except TypeError:
            # What the tokenizer says of a string that has no UTF-8 form.
            raise InputError("the text holds half a surrogate pair: it is not valid Unicode") from None
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        words = [text[start:end] for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
                 if token == unknown]  # fmt: skip
        if words:
            raise InputError(_unknown_words(list(dict.fromkeys(words))))
        return _cut(text, encoding)


class Stream:
    """Turn a response that fills up in any order into text that, once given, stays as it is."""

    def __init__(self, text: Text, mask_id: int, eos_ids: Sequence[int] = ()) -> None:
        self._text = text
        self._mask_id = mask_id
        self._eos_ids = frozenset(eos_ids)
        self._given = ""

    def push(self, response: Sequence[int]) -> str:
        """Return what is certain by now and was not yet given, from the response's ids, masks included.

        That is the text before the first mask, or up to the end of the sequence, less a character of which only
        some bytes are there.
        """
        said = list(_until(response, self._eos_ids))
        settled = list(_until(said, {self._mask_id}))
        text = self._text.decode(settled)
        if len(settled) < len(said):
            text = text.rstrip("\ufffd")
        fresh = text[len(self._given) :]
        self._given += fresh
        return fresh


def _cut(text: str, encoding: Encoding) -> list[Token]:
    """Give each token its part of the text, from where the one before ends; the last one takes what is left.

    Of a character that several tokens make up, the first has all. What the tokenizer put around has its name.
    """
    special = encoding.special_tokens_mask
    own = [index for index in range(len(encoding)) if not special[index]]
    tokens = [Token(number, name, special=True) for number, name in zip(encoding.ids, encoding.tokens, strict=True)]
    done = 0
    for index in own:
        end = len(text) if index == own[-1] else max(done, encoding.offsets[index][1])
        tokens[index] = Token(encoding.ids[index], text[done:end])
        done = end
    return tokens


def _until(ids: Sequence[int], stops: frozenset[int] | set[int]) -> Iterator[int]:
    for token in ids:
        if token in stops:
            return
        yield token


def _pattern(token: AddedToken) -> str:
    """Match a special token as the tokenizer does, with the blanks that it swallows."""
    before, after = r"\s*" if token.lstrip else "", r"\s*" if token.rstrip else ""
    return f"{before}({re.escape(token.content)}){after}"


def _unknown_words(words: list[str]) -> str:
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return (
        f"words that the model does not know: {', '.join(map(repr, words[:5]))}{more}; the bundled model reads "
        "documents from `maskkv sample`; `--model` takes a real checkpoint"
    )
