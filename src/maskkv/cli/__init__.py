"""The command line. Nothing here imports torch before a command runs: `--help` answers at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

import maskkv
from maskkv.cli import (
    bench,
    calibrate,
    chat,
    demo,
    doctor,
    elsewhere,
    evaluate,
    generate,
    inspect,
    plan,
    plot,
    policies,
    refusals,
    sample,
    serve,
    streams,
    terminal,
)
from maskkv.errors import InputError, MaskKVError

app = typer.Typer(
    name="maskkv",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its panels cut long flags off at 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command in {
    "generate": generate.generate,
    "chat": chat.chat,
    "demo": demo.demo,
    "sample": sample.sample,
    "policies": policies.policies,
    "calibrate": calibrate.calibrate,
    "eval": evaluate.evaluate,
    "serve": serve.serve,
    "bench": bench.bench,
    "plan": plan.plan,
    "plot": plot.plot,
    "inspect": inspect.inspect,
    "doctor": doctor.doctor,
}.items():
    app.command(_name, cls=elsewhere.WithRay if _name == "eval" else None)(_command)

# Typer's own word for a command line that it refuses is the base class of the only one that it exports.
_Refused: Any = typer.BadParameter.__mro__[2]


def _print_version(asked: bool) -> bool:
    if asked:
        terminal.put(f"maskkv {maskkv.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _maskkv(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run diffusion language models under a KV budget."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 after an error of the user's, 130 after Ctrl-C."""
    streams.prepare()
    status = _run(sys.argv[1:] if args is None else list(args))
    try:
        with streams.written():
            sys.stdout.flush()
    except InputError as error:
        return status or _error(str(error))
    return status


def _run(args: list[str]) -> int:
    try:
        status = typer.main.get_command(app).main(args=args or ["--help"], prog_name="maskkv", standalone_mode=False)
    except MaskKVError as error:
        return _error(str(error))
    except (KeyboardInterrupt, typer.Abort):  # older typers raise, newer ones return 130
        return 130
    except Exception as error:
        message = _refusal(error)
        if message is None:
            raise
        return _error(message)
    return int(status or 0)


def _error(message: str) -> int:
    refusals.report(message)
    return 2


def _refusal(error: Any) -> str | None:
    """Put an error that is not maskkv's own, and yet the user's to mend, into words; None for any other."""
    if isinstance(error, _Refused):
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "maskkv"
        # Where pydantic checks a value, it says whose exception that was.
        message = error.format_message().rstrip(".").replace(" Value error,", "")
        return f"{message[:1].lower()}{message[1:]}: see `{where} --help`"
    return refusals.not_ours(error)
