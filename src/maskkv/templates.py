"""Chat templates: which special tokens of a rendered conversation the template wrote, and which a user spelled out.

A template is rendered with the messages as they are, and with marks in place of the special tokens that its own text
spells (one mark for each character, so that lengths stay). Only what comes out as marks is a special token. Whatever
a template does with a message, cutting and joining included, a message holds no marks and so makes no token.

The price: a special token that a template puts together from pieces is none (such templates are refused), and
one that it looks for in a message is not found there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence

from maskkv.errors import CheckpointError, InputError
from maskkv.rendering import Message, renderer

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

_PROBE = ({"role": "user", "content": "."}, {"role": "assistant", "content": "."}, {"role": "user", "content": "."})


class ChatTemplate:
    """A checkpoint's Jinja program, which writes conversations."""

    def __init__(self, source: str, special: Sequence[str], named_tokens: Mapping[str, str]) -> None:
        """Take over the program, the tokenizer's special tokens, and what the program may call some of them."""
        characters = sorted(set("".join(special)))
        if len(characters) > _MARKS:
            raise CheckpointError(
                f"the special tokens are made of {len(characters)} characters; supported: at most {_MARKS}"
            )
        if any(_RESERVED.search(token) for token in special):
            raise CheckpointError("a special token holds a code point that Unicode reserves (U+FDD0 to U+FDE0)")
        self.source = source
        self._marks = {ord(each): _FIRST_MARK + index for index, each in enumerate(characters)}
        self._letters = {mark: letter for letter, mark in self._marks.items()}
        # The longest first, as the tokenizer matches them; without any, what matches nowhere.
        longest_first = sorted(special, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._marked = re.compile("|".join(token.translate(self._marks) for token in longest_first) or "(?!)")
        self._named_tokens = dict(named_tokens)
        self._probed = not special

    def render(self, messages: Sequence[Message], *, continue_last: bool = False) -> str:
        """Write a conversation; in it only the special tokens that the template wrote are spelled, others are hidden.

        Raises:
            CheckpointError: the template puts special tokens together from pieces.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        _check(messages)
        marked = self._write(messages, continue_last)
        if not self._probed:
            self._probe()
            self._probed = True
        return self._hide(marked)

    def _write(self, messages: Sequence[Message], continue_last: bool = False) -> str:
        """Render with marks for the special tokens that the program and its named tokens spell."""
        named = {name: self._mark(token) for name, token in self._named_tokens.items()}
        return _rendered(self._mark(self.source), messages, named, continue_last)

    def _mark(self, text: str) -> str:
        return self._spelled.sub(lambda found: found[0].translate(self._marks), text)

    def _probe(self) -> None:
        """Refuse a program that marks change, or that makes special tokens which are not marked."""
        try:
            plain = [_rendered(self.source, _PROBE, self._named_tokens)]
        except InputError:
            return  # It takes no such conversation; nothing is known of it.
        marked = self._write(_PROBE)
        composed = self._spelled.search(marked)
        if composed:
            raise CheckpointError(
                f"the chat template puts the special token {composed[0]!r} together from pieces; supported: templates "
                "that spell special tokens whole, or plain prompts"
            )
        # Twice, since it may write the time.
        plain.append(_rendered(self.source, _PROBE, self._named_tokens))
        if marked.translate(self._letters) not in plain:
            raise CheckpointError(
                "the chat template computes with special tokens; supported: templates that only write them, or plain "
                "prompts"
            )

    def _hide(self, marked: str) -> str:
        """Return what was rendered with letters for marks, and each special token broken that is not all marks."""
        text = marked.translate(self._letters)
        parts: list[str] = []
        done = 0
        while found := self._spelled.search(text, done):
            start = found.start()
            parts.append(_RESERVED.sub(_hidden, text[done:start]))
            written = self._marked.match(marked, start)
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


def _rendered(source: str, messages: Sequence[Message], named: Mapping[str, str], continue_last: bool = False) -> str:
    last = {"add_generation_prompt": not continue_last, "continue_final_message": continue_last}
    return renderer().render(source, messages, **last, **named)


def _hidden(character: str | re.Match[str]) -> str:
    letter = character if isinstance(character, str) else character[0]
    return _HIDDEN + f"{ord(letter):06x}".translate(_HIDE)


def _character(found: re.Match[str]) -> str:
    code = int(found[1].translate(_SHOW), 16)
    return chr(code) if code <= sys.maxunicode else found[0]


def _check(messages: Sequence[Message]) -> None:
    if not messages:
        raise InputError("the conversation is empty; give at least one message")
    for message in messages:
        if not all(isinstance(message.get(field), str) for field in ("role", "content")):
            raise InputError("a message needs a role and a content, both strings")
        if not all(isinstance(value, str) for value in message.values()):
            raise InputError("a message holds strings only")
        if _HALF_PAIR.search("".join([*message, *message.values()])):
            raise InputError("a message holds half a surrogate pair: it is not valid Unicode")
    if not messages[-1]["content"].strip():
        raise InputError("the last message is empty; give it some text")
