"""`maskkv chat`: a conversation on the terminal, or through a pipe a message a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import refusals, streams, terminal
from maskkv.cli.conversation import Conversation
from maskkv.cli.flags import Debug, PolicyFlags, flagged, load
from maskkv.cli.generate import pairs_per_head, sureness
from maskkv.errors import InputError, MaskKVError
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.result import Result, finish

if TYPE_CHECKING:
    from maskkv.decoding.engine import Step

Steps = Generator["Step", None, Result]


@dataclass(frozen=True)
class ChatFlags:
    """Say what the conversation begins with."""

    file: Annotated[str | None, typer.Option(metavar="DOC", help="Attach a UTF-8 file to the first message.")] = None


@flagged
def chat(
    *,
    begin: ChatFlags,
    loading: Loading,
    policy: PolicyFlags,
    generation: Generation,
    debug: Debug = False,
) -> None:
    """Talk with a model.

    On a terminal the answer is shown while it condenses out of the masks; /help lists what can be typed. Otherwise
    each line of standard input is a message, and answers are all that goes to standard output.
    """
    policy.chosen()
    conversation = Conversation(load(loading), generation, policy)
    opening = None if begin.file is None else conversation.attach(begin.file)
    if sys.stdin.isatty() and sys.stdout.isatty():
        terminal.put(f"{loading.model or 'the bundled dLLM'}, {conversation.settings}; /help lists the commands")
        if opening is not None:
            terminal.put(opening)
        _talk(conversation, debug)
    elif not _answer_lines(conversation, debug):
        raise typer.Exit(2)


def _talk(conversation: Conversation, debug: bool) -> None:
    """Answer what is typed until the end of input."""
    with suppress(ImportError):  # Some Pythons come without; lines are typed all the same.
        import readline  # line editing and history for `input`

        # With it a text of several lines that is pasted is one message. Python turns it off; libedit does not have it.
        readline.parse_and_bind("set enable-bracketed-paste on")
    while True:
        try:
            line = input("> ")
            if line.strip() == "/quit":
                return
            _turn(conversation, line, partial(_show, conversation), terminal.put)
        except EOFError:
            terminal.put("")
            return
        except KeyboardInterrupt:
            terminal.put("")
        except Exception as error:
            _forgive(error, debug)


def _show(conversation: Conversation, steps: Steps) -> None:
    """Draw an answer while it condenses, then print it with what was kept for it."""
    from rich.console import Console
    from rich.live import Live

    from maskkv.cli.condensing import Condensing

    console = Console(highlight=False, markup=False, emoji=False)
    response = Condensing(conversation.llm.text, conversation.generation.gen_length)
    try:
        with Live(get_renderable=lambda: response.shown(console), console=console, transient=True):
            result = finish(steps, response.step)
    except KeyboardInterrupt:
        _stopped(conversation, response.certain())
        return
    terminal.put(result.text)
    console.print(_status(result), style="dim")


def _stopped(conversation: Conversation, certain: list[int]) -> None:
    """Keep what was decided up to the first mask of an answer that was stopped."""
    said = conversation.keep(certain)
    if said:
        terminal.put(said)
        terminal.put(f"stopped: the first {len(certain):,} tokens are kept as the answer")
    else:
        terminal.put("stopped before any beginning was certain: message and answer are forgotten")


def _status(result: Result) -> str:
    """Say in one line what was kept and how fast it went."""
    from rich.filesize import decimal

    pairs = pairs_per_head(result)
    if pairs is None:
        kept = "no cache"
    else:
        part = result.cache_bytes / result.full_cache_bytes
        kept = (
            f"{pairs:,.1f} of {result.prompt_length:,} pairs per head, "
            f"{decimal(result.cache_bytes)} ({part:.1%} of all)"
        )
    if result.reused:
        kept += f", {result.reused:,} prompt tokens reused"
    return f"{result.policy}: {kept}, least sure token {sureness(result)}, {result.tokens_per_s:.1f} tokens/s"


def _answer_lines(conversation: Conversation, debug: bool) -> bool:
    """Answer each line of standard input; return whether all could be answered."""
    fine = True
    for number, raw in enumerate(_lines(), 1):
        try:
            line = _decoded(raw, number)
            if line.strip() == "/quit":
                break
            _turn(conversation, line, _print, terminal.note)
        except Exception as error:
            _forgive(error, debug)
            fine = False
    return fine


def _print(steps: Steps) -> None:
    with terminal.waiting("answering"):
        result = finish(steps)
    terminal.put(result.text)


def _lines() -> Iterator[bytes]:
    try:
        yield from sys.stdin.buffer
    except OSError as error:
        raise InputError(f"cannot read standard input: {streams.reason(error)}") from None


def _decoded(raw: bytes, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"line {number} of standard input is not UTF-8 text") from None


def _turn(conversation: Conversation, line: str, answer: Callable[[Steps], None], tell: Callable[[str], None]) -> None:
    if line.startswith("/") and "\n" not in line.strip():
        tell(conversation.command(line.strip()))
    elif line.strip() or conversation.attached:
        answer(conversation.ask(line.strip()))


def _forgive(error: Exception, debug: bool) -> None:
    """Report what a message or command did wrong, so that the session goes on; raise anything else again."""
    if isinstance(error, MaskKVError):
        message: str | None = str(error)
    elif isinstance(error, UnicodeDecodeError):
        message = "what was typed is not text in the terminal's encoding"
    else:
        message = refusals.not_ours(error)
    if message is None:
        raise error
    if debug:
        refusals.trace(error)
    refusals.report(message)
