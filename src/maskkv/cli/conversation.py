"""A conversation: what was said so far, what is attached to the next message, and how it is answered."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskkv.checks import quoted
from maskkv.cli import documents, streams
from maskkv.cli.flags import PolicyFlags
from maskkv.cli.stretched import Notice
from maskkv.errors import CheckpointError, InputError
from maskkv.generation import Generation

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.cache import Prefix
    from maskkv.decoding.engine import Step
    from maskkv.result import Result

COMMANDS = {
    "/file PATH": "attach a UTF-8 file to the next message; an empty line sends it alone",
    "/policy [NAME]": "show or change the policy: a name of `maskkv policies`, perhaps with changes",
    "/budget [N]": "show or change how many prompt pairs a KV head keeps per layer, on average: 256, or 5%",
    "/save FILE": "write what was said, documents included, to a new file",
    "/clear": "forget what was said and attached",
    "/help": "show this",
    "/quit": "end (Ctrl-D does too; Ctrl-C stops an answer, and keeps what is certain of it)",
}


@dataclass
class Conversation:
    """Hold the turns of a chat and answer the next one; a turn that fails leaves no trace."""

    llm: LanguageModel
    generation: Generation
    flags: PolicyFlags
    turns: list[dict[str, str]] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.llm.text.has_chat_template:
            raise CheckpointError("this checkpoint has no chat template: `maskkv generate` gives it plain prompts")
        self._policy = self.flags.chosen()
        self._notice = Notice(self.llm)
        self._prefix: Prefix | None = None
        self._asked: dict[str, str] = {}

    @property
    def settings(self) -> str:
        """Say which policy and budget answer the next message."""
        budget = self.flags.budget_for(self._policy)
        said = f"{budget:,}" if isinstance(budget, int) else budget
        return f"policy {self._policy.name}, " + ("no eviction" if said is None else f"budget {said}")

    def ask(self, said: str) -> Generator[Step, None, Result]:
        """Answer a message, step by step; the generator returns the Result."""
        self._asked = turn = {"role": "user", "content": "\n\n".join((*self.attached, said)).strip()}
        ids = self.llm.text.chat([*self.turns, turn])
        self._notice(len(ids) + self.generation.gen_length)
        result = yield from self.llm.stream_ids(
            ids,
            self.generation,
            policy=self._policy,
            budget=self.flags.budget_for(self._policy),
            prefix=self._prefix_for(len(ids) + self.generation.gen_length),
        )
        self._add(result.text)
        return result

    def keep(self, tokens: Sequence[int]) -> str:
        """Take the beginning of an answer that was stopped for the answer, if it says anything, and return its text."""
        said = self.llm.text.decode_response(list(tokens), self.llm.model.config.eos_ids).strip()
        if said:
            self._add(said)
        return said

    def _add(self, answer: str) -> None:
        self.turns += [self._asked, {"role": "assistant", "content": answer}]
        self.attached.clear()

    def _prefix_for(self, tokens: int) -> Prefix | None:
        """Return what holds the pairs of earlier turns; None if they are not to be reused, or host memory is short."""
        if self.llm.model.config.causal_block is None or self.llm.model.ranks.count > 1:
            return None
        from maskkv.cache import Prefix

        prefix = Prefix() if self._prefix is None else self._prefix
        self._prefix = prefix if prefix.fits(self.llm.model, tokens) else None
        return self._prefix

    def command(self, line: str) -> str:
        """Do what a line that starts with a slash says, and return what to tell the user.

        Raises:
            InputError: There is no such command, or what follows it is of no use.
        """
        name, _, given = line.partition(" ")
        given = given.strip()
        match name:
            case "/file":
                return self.attach(given)
            case "/policy":
                return self._use(self.flags if not given else replace(self.flags, policy=_bundled(given)))
            case "/budget":
                return self._use(self.flags if not given else replace(self.flags, budget=given))
            case "/save":
                return self._save(given)
            case "/clear":
                self.turns.clear()
                self.attached.clear()
                self._prefix = None
                return "cleared"
            case "/help":
                width = max(map(len, COMMANDS))
                return "\n".join(f"{command:<{width}}  {about}" for command, about in COMMANDS.items())
        known = ", ".join(command.split()[0] for command in COMMANDS)
        raise InputError(
            f"unknown command {quoted(name)}: expected one of {known} (a blank in front makes it a message)"
        )

    def attach(self, source: str) -> str:
        """Put a file before the next message, if the model can read it."""
        if not source or source == documents.STDIN:
            raise InputError("there is no file: expected /file PATH")
        document = documents.read(_at_home(source)).strip()
        if not document:
            raise InputError(f"{source} is empty: expected at least one word")
        tokens = len(documents.encoded(document, self.llm.text.encode))
        self.attached.append(document)
        return f"attached {source}: {tokens:,} tokens that go with the next message"

    def _save(self, name: str) -> str:
        """Write what was said into a new file."""
        if not name or not self.turns:
            raise InputError("expected /save FILE" if not name else "there is nothing to save: nothing was said yet")
        try:
            with Path(_at_home(name)).open("x", encoding="utf-8") as file:
                file.write("\n".join(f"{turn['role']}:\n{turn['content']}\n" for turn in self.turns))
        except FileExistsError:
            raise InputError(f"{name} exists: give a new file's name") from None
        except (OSError, ValueError) as error:
            reason = streams.reason(error) if isinstance(error, OSError) else error
            raise InputError(f"cannot write {name}: {reason}") from None
        return f"saved {len(self.turns) // 2:,} messages with their answers to {name}"

    def _use(self, flags: PolicyFlags) -> str:
        self._policy, self.flags = flags.chosen(), flags
        return self.settings


def _bundled(policy: str) -> str:
    """Refuse to import a module: lines may come from a pipe."""
    if ":" in policy.partition("(")[0]:
        raise InputError(f"policy {quoted(policy)}: a policy of your own is given when the chat starts, by --policy")
    return policy


def _at_home(source: str) -> str:
    try:
        return str(Path(source).expanduser()) if source.startswith("~") else source
    except RuntimeError:
        raise InputError(f"cannot read {source}: there is no such home folder") from None
