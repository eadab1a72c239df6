"""`maskkv eval lm-eval`: tasks of lm-evaluation-harness under every policy and budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.eval.lm_eval.harness import Harness
    from maskkv.eval.runs import Study
    from maskkv.json_lines import Record


@dataclass(frozen=True)
class LmEvalFlags:
    """Say how lm-evaluation-harness makes its prompts; the names are its own."""

    include_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="lm-eval: a folder with tasks of your own.")
    ] = None
    num_fewshot: Annotated[
        int | None, typer.Option(min=0, help="lm-eval: examples in a prompt; default: the task's own.")
    ] = None
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="lm-eval: put prompts to the model as a chat.")
    ] = False
    confirm_run_unsafe_code: Annotated[
        bool, typer.Option("--confirm-run-unsafe-code", help="lm-eval: let tasks run code that the model writes.")
    ] = False

    def check(self, names: Sequence[str]) -> None:
        """Refuse what cannot be run before a model is loaded."""
        if not names:
            raise InputError("lm-eval needs names of tasks: give --tasks gsm8k, or several with commas between")
        if self.include_path is not None and not self.include_path.is_dir():
            raise InputError(
                f"--include-path {self.include_path} is not a folder: expected one with tasks as YAML files"
            )
        if find_spec("lm_eval") is None:
            raise InputError("lm-evaluation-harness is not installed: pip install 'maskkv[lm-eval]'")


def run(llm: LanguageModel, name: str, harness: Harness, study: Study, out: Path) -> list[Record]:
    """Run the tasks, print what is no mean of scores from 0 to 1, and return the records of the rest."""
    from maskkv.eval import table
    from maskkv.eval.lm_eval.harness import BENCHMARK, run
    from maskkv.eval.lm_eval.requests import from_line
    from maskkv.eval.store import Store

    with Store(from_line, out, BENCHMARK) as store:
        records = run(llm, name, harness, study, store)
    shares = [record for record in records if _is_share(record)]
    for record in records:
        if not _is_share(record):
            score = "no score" if record["score"] is None else record["score"]
            terminal.note(f"{record['task']}, {table.column(record)}: {score}")
    return shares


def _is_share(record: Record) -> bool:
    scores = record["scores"]
    return isinstance(scores, list) and bool(scores) and all(0 <= score <= 1 for score in scores)
