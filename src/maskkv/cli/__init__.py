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
    help_pages,
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
_COMMANDS = {
    "generate": (generate.generate, "maskkv sample single-key | maskkv generate - --gen-length 8 --budget 32"),
    "chat": (chat.chat, "maskkv chat --gen-length 16 --budget 25%"),
    "demo": (demo.demo, "maskkv demo --questions 8"),
    "sample": (sample.sample, "maskkv sample multi-key --length 500 --seed 4 > document.txt"),
    "policies": (policies.policies, "maskkv policies maskkv"),
    "calibrate": (calibrate.calibrate, "maskkv calibrate --length 500 --out profile.json"),
    "eval": (evaluate.evaluate, "maskkv eval mini -n 20 --length 1024 --policy full --policy maskkv"),
    "serve": (serve.serve, "maskkv serve --port 8000"),
    "bench": (bench.bench, "maskkv bench --shape mini --prompt-length 1024 --json-out bench.jsonl"),
    "plan": (plan.plan, "maskkv plan --shape llada-8b --prompt-length 32768 --memory 24GB"),
    "plot": (plot.plot, "maskkv plot --list"),
    "inspect": (inspect.inspect, "maskkv sample multi-key --length 300 | maskkv inspect - --budget 5%"),
    "doctor": (doctor.doctor, "maskkv doctor"),
}
"""Every command, and an example of it."""
for _name, (_command, _example) in _COMMANDS.items():
    _about = str(_command.__doc__).partition("\n")[0]  # without it a long summary would be cut
    _kind = elsewhere.WithRay if _name == "eval" else help_pages.Grouped
    app.command(_name, cls=_kind, short_help=_about, epilog=_example)(_command)

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
    """Run diffusion language models under a KV budget.

    `maskkv demo` shows what that is. `maskkv COMMAND --help` begins with an example.
    """


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
