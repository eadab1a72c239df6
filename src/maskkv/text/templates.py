"""Chat templates: which special tokens of a rendered conversation the template wrote, and which a user spelled out.

A template is rendered with the messages as they are, and with marks in place of the special tokens that its own text
spells (one mark for each character, so that lengths stay). Only what comes out as marks is a special token. Whatever
a template does with a message, cutting and joining included, a message holds no marks and so makes no token. The
price: a special token that the template looks for in a message is not found there.

Some templates put special tokens together from pieces (`'<|' + role + '|>'`), which marks would not follow. For these
the marks are in the messages instead: every character that a special token could be made of is one there. Which of the
two it is, the conversation's roles say, with nothing said. Such a template reads marks where a message has letters, so
that all it looks for, cuts by, escapes or encodes may go wrong: what it writes must be the same as without marks, and
its special tokens the same as if nothing were said, or the conversation is refused.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from maskkv.checks import quoted
from maskkv.errors import CheckpointError, InputError
from maskkv.text.rendering import Message, OutOfTimeError, renderer

_FIRST_MARK, _MARKS = 0xDC00, 0x400
"""Halves of surrogate pairs: no valid text holds one, and two second halves never make a pair."""

_HIDDEN = "\ufdd0"
"""A code point that Unicode reserves for no character; it begins a hidden character."""

_DIGITS = "\ufdd1\ufdd2\ufdd3\ufdd4\ufdd5\ufdd6\ufdd7\ufdd8\ufdd9\ufdda\ufddb\ufddc\ufddd\ufdde\ufddf\ufde0"
_HIDE = str.maketrans("0123456789abcdef", _DIGITS)
_SHOW = str.maketrans(_DIGITS, "0123456789abcdef")
_RESERVED = re.compile(f"[{_HIDDEN}{_DIGITS}]")
_HIDDEN_CHARACTER = re.compile(f"{_HIDDEN}([{_DIGITS}]{{6}})")

_HALF_PAIR = re.compile("[\ud800-\udfff]")

_PROBES = tuple(
    [{"role": role, "content": "."} for role in roles.split()]
    for roles in ("user", "system user", "user assistant user", "system user assistant")
)

_FIELDS = ("content", "name", "role")
"""The names of a message's fields that a template may put into a special token; others are a user's text."""

_ESCAPES = "&\\0123456789"
"""What other characters can be written with: in HTML, in JSON, as numbers."""

_UNFIT = (
    "the checkpoint's chat template puts special tokens together from pieces and also works on the text of messages, "
    "which could make tokens of it; that is not supported for this conversation; a plain prompt needs no template"
)

_ROLES = ("assistant", "developer", "function", "system", "tool", "user")
"""What a template may put into a special token; any other role is a user's text."""


class _Marks:
    """Marks for the letters of special tokens, and the way back."""

    def __init__(self, letters: set[str]) -> None:
        """Choose a mark for each letter.

        Raises:
            CheckpointError: there are too few.
        """
        if len(letters) > _MARKS:
            raise CheckpointError(
                f"the special tokens are made of {len(letters)} characters; supported: at most {_MARKS}"
            )
        self.of = {ord(letter): _FIRST_MARK + index for index, letter in enumerate(sorted(letters))}
        self.letters = {mark: chr(letter) for letter, mark in self.of.items()}


class ChatTemplate:
    """A checkpoint's Jinja program, which writes conversations."""

    def __init__(
        self, source: str, special: Sequence[str], named_tokens: Mapping[str, str], thinking: bool | None = None
    ) -> None:
        """Take over the program, the tokenizer's special tokens, and what the program may call some of them.

        `thinking` is told as `enable_thinking`; None: the program is left to its default.
        """
        if any(_RESERVED.search(token) for token in special):
            raise CheckpointError("a special token holds a code point that Unicode reserves (U+FDD0 to U+FDE0)")
        self.source = source
        self._marks = _Marks(set("".join(special)))
        # The longest first, as the tokenizer matches them; without any, what matches nowhere.
        longest_first = sorted(special, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._marked = re.compile("|".join(token.translate(self._marks.of) for token in longest_first) or "(?!)")
        self._named_tokens = dict(named_tokens)
        self._told = {} if thinking is None else {"enable_thinking": thinking}

    def render(self, messages: Sequence[Message], *, continue_last: bool = False) -> str:
        """Write a conversation; in it only the special tokens that the template wrote are spelled, others are hidden.

        Raises:
            InputError: a message is malformed or empty, or the template refuses the conversation, or it puts special
                tokens together from pieces and also works on the text of this conversation.
        """
        _check(messages)
        if self._spells_whole(messages, continue_last):
            marked = self._write_marked(messages, continue_last)
            return self._hide(marked, marked.translate(self._marks.letters), self._marked)
        plain = self._rendered(self.source, messages, self._named_tokens, continue_last)
        try:
            text = self._write_to_marked(messages, continue_last)
            expected = self._write_to_marked(_placeholders(messages), continue_last)
        except OutOfTimeError:
            raise
        except InputError:
            raise InputError(_UNFIT) from None
        # What a message says must neither be changed by its marks nor bring tokens of its own.
        if shown(text) != plain or self._spelled.findall(text) != self._spelled.findall(expected):
            raise InputError(_UNFIT)
        return text

    @functools.cached_property
    def _message_marks(self) -> _Marks:
        return _Marks(_in_any_case({*map(chr, self._marks.of), *_ESCAPES}))

    def _write_marked(self, messages: Sequence[Message], continue_last: bool) -> str:
        """Render with marks for the special tokens that the program and its named tokens spell."""
        named = {name: self._mark(token) for name, token in self._named_tokens.items()}
        return self._rendered(self._mark(self.source), messages, named, continue_last)

    def _write_to_marked(self, messages: Sequence[Message], continue_last: bool) -> str:
        """Render with marks in the messages, for all that could become a letter of a special token; hide the others."""
        marks = self._message_marks
        marked = [
            {
                field if field in _FIELDS else field.translate(marks.of): value
                if field == "role" and value in _ROLES
                else value.translate(marks.of)
                for field, value in message.items()
            }
            for message in messages
        ]
        written = self._rendered(self.source, marked, self._named_tokens, continue_last)
        return self._hide(written, written.translate(marks.letters), self._spelled)

    def _mark(self, text: str) -> str:
        return self._spelled.sub(lambda found: found[0].translate(self._marks.of), text)

    def _rendered(self, source: str, messages: Sequence[Message], named: Mapping[str, str], continue_last: bool) -> str:
        last = {"add_generation_prompt": not continue_last, "continue_final_message": continue_last}
        try:
            return renderer().render(source, messages, **last, **self._told, **named)
        except InputError as error:
            said = str(error).translate(self._marks.letters)
            raise type(error)(said.encode("utf-8", "replace").decode()) from None

    def _spells_whole(self, messages: Sequence[Message], continue_last: bool) -> bool:
        """Say whether the program spells its special tokens whole, for these roles or else for usual ones.

        Of a program that takes none of them nothing is known: it may put tokens together.
        """
        for probes in ((_placeholders(messages),), _PROBES):
            answers = [self._probe(probe, continue_last) for probe in probes]
            if known := [answer for answer in answers if answer is not None]:
                return all(known)
        return False

    def _probe(self, messages: Sequence[Message], continue_last: bool) -> bool | None:
        """Say whether all special tokens come out as marks, which change nothing else; None where nothing comes out."""
        try:
            plain = self._rendered(self.source, messages, self._named_tokens, continue_last)
        except OutOfTimeError:
            raise  # It would not take less for the conversation itself.
        except InputError:
            return None
        try:
            marked = self._write_marked(messages, continue_last)
        except InputError:
            return False
        return not self._spelled.search(marked) and marked.translate(self._marks.letters) == plain

    def _hide(self, marked: str, text: str, written_token: re.Pattern[str]) -> str:
        """Return the text with each special token broken that a message is part of."""
        parts: list[str] = []
        done = 0
        while found := self._spelled.search(text, done):
            start = found.start()
            parts.append(_RESERVED.sub(_hidden, text[done:start]))
            written = written_token.match(marked, start)
            done = written.end() if written else start
            parts.append(text[start:done])
            if found.end() > done:
                # All of it is text, or the template's token and text after it would make up a longer one.
                parts.append(_hidden(text[done]))
                done += 1
        return "".join([*parts, _RESERVED.sub(_hidden, text[done:])])


def shown(text: str) -> str:
    """Return a part of what `ChatTemplate.render` returned with the hidden characters in their places."""
    return _HIDDEN_CHARACTER.sub(_character, text)


def _placeholders(messages: Sequence[Message]) -> list[Message]:
    """Return a conversation of the same roles in which nothing is said."""
    return [
        {field: "." if field != "role" and value.strip() else value for field, value in message.items()}
        for message in messages
    ]


def _in_any_case(letters: set[str]) -> set[str]:
    """Add the letters that another case makes these from, once or several times over."""
    more = {chr(code) for code in range(0x10000) if letters.intersection(_cases(chr(code)))}
    return letters if more <= letters else _in_any_case(letters | more)


def _cases(letter: str) -> str:
    return letter.upper() + letter.lower() + letter.title() + letter.casefold()


def _hidden(character: str | re.Match[str]) -> str:
    letter = character if isinstance(character, str) else character[0]
    return _HIDDEN + f"{ord(letter):06x}".translate(_HIDE)


def _character(found: re.Match[str]) -> str:
    code = int(found[1].translate(_SHOW), 16)
    return chr(code) if code <= sys.maxunicode else found[0]


def _check(messages: Any) -> None:
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise InputError(f"the conversation is {quoted(messages)}: expected a list of messages")
    if not messages:
        raise InputError("the conversation is empty; give at least one message")
    for message in messages:
        fields = [message.get(field) for field in ("role", "content")] if isinstance(message, Mapping) else [None]
        if not all(isinstance(field, str) for field in fields):
            raise InputError("a message needs a role and a content, both strings")
        if not all(isinstance(each, str) for field in message.items() for each in field):
            raise InputError("a message holds strings only, under names that are strings")
        if _HALF_PAIR.search("".join([*message, *message.values()])):
            raise InputError("a message holds half a surrogate pair: it is not valid Unicode")
    if not messages[-1]["content"].strip():
        raise InputError("the last message is empty; give it some text")
