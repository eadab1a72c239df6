"""Text to token ids and back, from a checkpoint's own tokenizer files; none of its code is run.

Text that a user gives is only ever text: what looks like a special token in it (`<|mdm_mask|>`, `<|eot_id|>`) is
spelled out in ordinary tokens, in prompts and in chat messages alike. Special tokens come from the tokenizer's
post-processor and from the chat template. (A closed vocabulary has one spelling of a word: there the token stays.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from maskkv.errors import CheckpointError, InputError
from maskkv.models.fields import read_json

_UNDEFINED = "\ufdd0"
"""A code point that Unicode reserves for no character: it marks what a template must not take for a token."""


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
        self._template = template
        self._named_tokens = dict(named_tokens or {})
        added = tokenizer.get_added_tokens_decoder()
        self._special_ids = {token.content: number for number, token in added.items() if token.special}
        # The longest first, as the tokenizer matches them.
        special = sorted((token for token in added.values() if token.special), key=lambda token: -len(token.content))
        self._literals = [token.content for token in special] + [_UNDEFINED]
        self._literal = re.compile("|".join(map(re.escape, self._literals)))
        self._token = re.compile("|".join(map(_pattern, special)) or "(?!)")

    @classmethod
    def load(cls, folder: Path) -> Text:
        """Read the tokenizer and the chat template of a model folder.

        Raises:
            CheckpointError: the folder has no tokenizer, or a broken one.
        """
        config = read_json(folder / "tokenizer_config.json") or {}
        names = {**(read_json(folder / "special_tokens_map.json") or {}), **config}
        named = {name: _content(token) for name, token in names.items() if name.endswith("_token")}
        named_tokens = {name: token for name, token in named.items() if token is not None}
        if (folder / "tokenizer.json").exists():
            tokenizer = _read_tokenizer(folder / "tokenizer.json")
        elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            tokenizer = _build_qwen2(folder, config, _special(names))
        else:
            raise CheckpointError(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json with merges.txt")
        return cls(tokenizer, _read_template(folder, config), named_tokens)

    @property
    def has_chat_template(self) -> bool:
        """Say whether the checkpoint knows conversations; base models often do not."""
        return self._template is not None

    @property
    def chat_template(self) -> str | None:
        """Return the checkpoint's chat template, a Jinja program, if it has one."""
        return self._template

    def encode(self, text: str) -> list[int]:
        """Encode a prompt as it stands, with what the tokenizer puts around it.

        Raises:
            InputError: the text is empty, not valid Unicode, or has words outside a closed vocabulary.
        """
        if not text.strip():
            raise InputError("the prompt is empty; give it some text")
        return self._encode(text, whole=True)

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Encode a conversation, up to where the assistant's answer begins.

        Raises:
            CheckpointError: the checkpoint has no chat template.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        return self.encode_rendered(self.render(messages))

    def render(self, messages: Sequence[Mapping[str, str]], *, continue_last: bool = False) -> str:
        """Write a conversation as the chat template does, for `encode_rendered`.

        `continue_last` leaves the last message open, for an answer that goes on from there. Special tokens that a
        message spells out are marked in what is returned.

        Raises:
            CheckpointError: the checkpoint has no chat template.
            InputError: a message is malformed or empty, or the template refuses the conversation.
        """
        if self._template is None:
            raise CheckpointError("this checkpoint has no chat template; give it a plain prompt")
        _check_messages(messages)
        guarded = [{field: self._guard(value) for field, value in message.items()} for message in messages]
        return self._render(self._template, guarded, continue_last)

    def encode_rendered(self, rendered: str) -> list[int]:
        """Encode what `render` returned; only here are special tokens taken for what they are."""
        ids: list[int] = []
        end = 0
        for token in self._token.finditer(rendered):
            ids += self._encode(self._unguard(rendered[end : token.start()]))
            ids.append(self._special_ids[token[token.lastindex or 0]])
            end = token.end()
        return ids + self._encode(self._unguard(rendered[end:]))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""
        return self._tokenizer.decode(list(ids))

    def piece(self, token: int) -> str:
        """Return what one token stands for, special ones by their names; part of a character reads as U+FFFD."""
        return self._tokenizer.decode([token], skip_special_tokens=False)

    def _encode(self, text: str, whole: bool = False) -> list[int]:
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=whole)
        except TypeError:
            # What the tokenizer says of a string that has no UTF-8 form.
            raise InputError("the text holds half a surrogate pair: it is not valid Unicode") from None
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        words = [text[start:end] for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
                 if token == unknown]  # fmt: skip
        if words:
            raise InputError(_unknown_words(list(dict.fromkeys(words))))
        return encoding.ids

    def _guard(self, content: str) -> str:
        """Replace the special tokens that a message spells out by marks, so that they do not become tokens."""
        return self._literal.sub(lambda found: f"{_UNDEFINED}{self._literals.index(found[0])};", content)

    def _unguard(self, text: str) -> str:
        return re.sub(f"{_UNDEFINED}(\\d+);", lambda found: self._literals[int(found[1])], text)

    def _render(self, template: str, messages: list[dict[str, str]], continue_last: bool) -> str:
        # Importing transformers takes seconds, and only conversations need it.
        from transformers.utils.chat_template_utils import render_jinja_template

        options: dict[str, Any] = {
            "chat_template": template,
            "add_generation_prompt": not continue_last,
            "continue_final_message": continue_last,
            **self._named_tokens,
        }
        try:
            rendered: Any = render_jinja_template([messages], **options)
        except Exception as error:  # A template is the checkpoint's program: it may fail in any way it likes.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the checkpoint's chat template cannot render these messages: {reason}") from None
        return str(rendered[0][0])


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


def _check_messages(messages: Sequence[Mapping[str, str]]) -> None:
    if not messages:
        raise InputError("the conversation is empty; give at least one message")
    for message in messages:
        if not all(isinstance(message.get(field), str) for field in ("role", "content")):
            raise InputError("a message needs a role and a content, both strings")
    if not messages[-1]["content"].strip():
        raise InputError("the last message is empty; give it some text")


def _content(token: object) -> str | None:
    """Return a special token's text, which the files give bare or as an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _special(names: Mapping[str, object]) -> set[str]:
    """Collect the texts of the special tokens, named and unnamed."""
    more = names.get("additional_special_tokens")
    tokens = [token for name, token in names.items() if name.endswith("_token")]
    tokens += more if isinstance(more, list) else []
    return {text for text in map(_content, tokens) if text is not None}


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises nothing more special.
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from None


def _read_template(folder: Path, config: Mapping[str, object]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}.get(
            "default"
        )
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"{folder / 'tokenizer_config.json'}: chat_template is no text")
    return template


def _build_qwen2(folder: Path, config: Mapping[str, object], special: set[str]) -> Tokenizer:
    """Build Qwen2's byte-level BPE from its two files and the tokens that were added to it."""
    from transformers import Qwen2Tokenizer

    vocab, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    try:
        # None, so that it adds no tokens of its own; it takes None although its annotations do not.
        bare = Qwen2Tokenizer(vocab=vocab, merges=merges, unk_token=None, eos_token=None, pad_token=None)  # type: ignore[arg-type]
    except Exception as error:  # The library raises nothing more special.
        raise CheckpointError(f"{folder}: vocab.json and merges.txt are not a tokenizer: {error}") from None
    tokenizer: Tokenizer = bare.backend_tokenizer
    for number, token in sorted(_added_tokens(folder, config, special).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != number:
            found = tokenizer.token_to_id(token.content)
            raise CheckpointError(f"{folder}: added token {token.content!r} gets id {found}, expected {number}")
    return tokenizer


def _added_tokens(folder: Path, config: Mapping[str, object], special: set[str]) -> dict[int, AddedToken]:
    """Read the added tokens, from `tokenizer_config.json` or else from the older `added_tokens.json`."""
    entries = config.get("added_tokens_decoder")
    try:
        if isinstance(entries, dict):
            return {int(number): AddedToken(**entry) for number, entry in entries.items()}
        older = read_json(folder / "added_tokens.json") or {}
        return {
            int(str(number)): AddedToken(content, normalized=False, special=content in special)
            for content, number in older.items()
        }
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: the added tokens are malformed: {error}") from None
