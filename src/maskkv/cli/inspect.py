"""`maskkv inspect`: what a policy keeps of a document, on the terminal or as one HTML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import documents, terminal
from maskkv.cli.documents import STDIN, PromptFlags
from maskkv.cli.flags import Json, PolicyFlags, flagged, load
from maskkv.cli.stretched import Notice
from maskkv.errors import InputError
from maskkv.generation import Generation
from maskkv.loading import Loading
from maskkv.printable import printable

if TYPE_CHECKING:
    from maskkv.models.config import ModelConfig


@dataclass(frozen=True)
class QuestionFlags:
    """Choose what is asked about the document."""

    question: Annotated[str | None, typer.Option(metavar="TEXT", help="Put this behind the document.")] = None
    raw: Annotated[bool, typer.Option("--raw", help="Give the prompt as it stands, without the chat template.")] = False


@dataclass(frozen=True)
class LensFlags:
    """Choose what is shown, and where."""

    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a slider for the budget instead.")
    ] = None
    layer: Annotated[int | None, typer.Option(help="Shade by this layer only, counted from 0.")] = None
    head: Annotated[int | None, typer.Option(help="Shade by this KV head only, counted from 0.")] = None

    def check(self, config: ModelConfig) -> None:
        """Raise InputError unless the model has such a layer and head."""
        for name, number, count in (("layer", self.layer, config.num_layers), ("head", self.head, config.num_kv_heads)):
            if number is not None and not 0 <= number < count:
                raise InputError(f"--{name} {number}: expected a number from 0 to {count - 1}")


@flagged
def inspect(
    doc: Annotated[str, typer.Argument(metavar="DOC", help="A UTF-8 file; - reads standard input.")],
    *,
    asked: QuestionFlags,
    shown: LensFlags,
    loading: Loading,
    policy: PolicyFlags,
    generation: Generation,
    as_json: Json = False,
) -> None:
    """Show what a policy keeps of a document.

    The prompt is shaded by how many (layer, KV head) segments keep each token. Below it: the pairs that each segment
    keeps, the part of the masks' attention that goes to the prompt, what came back in each step if evicted pairs wait
    in host memory, and the answer beside that of the full cache.
    """
    text = PromptFlags(file=doc, question=asked.question).prompt()
    chosen = policy.chosen()
    if not chosen.can_evict:
        raise InputError(f"policy {chosen.name!r} evicts nothing: there is something to see with one that does")
    if shown.page is not None and not shown.page.absolute().parent.is_dir():
        raise InputError(f"there is no folder {shown.page.parent} to write {shown.page.name} to")
    llm = load(loading)
    shown.check(llm.model.config)
    from maskkv import lens
    from maskkv.cli import shaded

    tokens = documents.encoded(text, partial(llm.prompt_tokens, raw=asked.raw))
    Notice(llm)(len(tokens) + generation.gen_length)
    with terminal.waiting("looking"):
        seen = lens.inspect(llm, tokens, generation, chosen, policy.budget_for(chosen))
    if shown.page is not None:
        title = "standard input" if doc == STDIN else printable(Path(doc).name)
        _write(shown.page, lens.html(seen, f"{title} under {seen.policy}"))
    if as_json:
        terminal.put_json(asdict(seen))
    elif shown.page is None:
        for part in shaded.show(seen, shown.layer, shown.head):
            terminal.show(part)


def _write(page: Path, text: str) -> None:
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {page}: {error.strerror or error}") from None
    terminal.note(f"wrote {page}")
