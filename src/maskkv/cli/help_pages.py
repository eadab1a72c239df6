"""What `--help` shows of a command: an example, then its flags in groups, without those that only research needs."""

from __future__ import annotations

import typing
from copy import copy
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import typer
from typer.core import TyperCommand

from maskkv.cli import terminal

GROUPS: dict[str, tuple[str, str]] = {
    "Prompt": ("text doc file question raw", ""),
    "Figure": ("figure source where retention", ""),
    "Examples": (
        "benchmarks task n length first_seed sample.seed demo.seed percent questions depth haystack data prompts",
        "",
    ),
    "lm-eval": (
        "include_path num_fewshot apply_chat_template confirm_run_unsafe_code",
        "mc_num mc_batch_size estimator sampling_eps is_check_greedy add_bos_token",
    ),
    "Model": ("model shape device dtype tensor_parallel compile", "rope_scale profile"),
    "Policy": (
        "name policy budget",
        "layer_budget head_budget voters tally value_weighted pooled kernel protect_window layer_base boundary_layers "
        "edge head_base revote",
    ),
    "Workload": ("prompt_length batch_size repeats none_steps bench.seed", ""),
    "Response": ("gen_length stop_at_eos", "logits_eos_inf confidence_eos_eot_inf"),
    "Schedule": (
        "steps block_length threshold min_confidence doubt prompt_interval response_interval",
        "transfer_ratio one_pass value_drift drift factor shares edit_threshold max_post_steps min_transfer",
    ),
    "Sampler": ("temperature seed alg", "remasking cfg_scale alg_temp eps top_p top_k"),
    "Memory": ("memory kv_dtype quantize evicted", "recall_interval index host_dtype"),
    "Server": (
        "host port api_key_file replicas ray_address max_queue max_batch timeout drain_timeout max_body_bytes "
        "max_prompt_length max_gen_length",
        "",
    ),
    "Load": ("rate lengths gen_lengths pace wait requests", ""),
    "Processes": ("jobs ray shard isolated", ""),
    "Output": ("layer head page out json_out markdown list_ as_json", ""),
    "Help": ("debug help_all help", ""),
}
"""Every group with the flags that `--help` shows, and those that `--help-all` adds; `bench.seed` is one command's."""

_PLACES = {
    flag: (group, number, research)
    for group, (shown, hidden) in GROUPS.items()
    for research, names in ((False, shown), (True, hidden))
    for number, flag in enumerate(names.split())
}
_ALL = "maskkv.help_all"


def place(command: str, flag: str) -> tuple[str, int, bool]:
    """Return a flag's group, its place there among flags of its kind, and whether it is for research."""
    return _PLACES.get(f"{command}.{flag}") or _PLACES[flag]


class Grouped(TyperCommand):
    """Write help in groups, below the example that the command's epilog holds."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write how the command is called, and an example."""
        super().format_usage(ctx, formatter)
        formatter.write(f"Example: {self.epilog}\n")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words behind the command's name, without the braces around what is required."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write each group that has something to show."""
        rows: dict[str, list[tuple[tuple[bool, int], tuple[str, str]]]] = {group: [] for group in GROUPS}
        parameters: list[Any] = list(self.get_params(ctx))
        for parameter in parameters:
            group, number, research = place(str(self.name), parameter.name)
            if (research and not ctx.meta.get(_ALL)) or getattr(parameter, "hidden", False):
                continue
            rows[group].append(((research, number), (_spelt(parameter), parameter.help or "")))
        for group, found in rows.items():
            if found:
                with formatter.section(group):
                    formatter.write_dl([row for _, row in sorted(found)])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write nothing: the example stands at the top."""


def _spelt(parameter: Any) -> str:
    """Return the names of a flag with what its value is called; of an argument only that."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    names = ", ".join(sorted(parameter.opts, key=len))
    # What is off by default has a second name that nobody needs.
    other = f" / {parameter.secondary_opts[0]}" if parameter.secondary_opts and parameter.default is not False else ""
    return f"{names}{other}" if parameter.metavar is None else f"{names} {parameter.metavar}"


def _show_all(ctx: Any, asked: bool) -> bool:
    if asked:
        ctx.meta[_ALL] = True
        terminal.put(ctx.get_help())
        raise typer.Exit
    return asked


def help_all() -> Parameter:
    """Return the parameter that shows what `--help` leaves out."""
    option = typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show the options for research too.")
    kind = typing.Annotated[bool, option]
    return Parameter("help_all", Parameter.KEYWORD_ONLY, default=False, annotation=kind)


def worded(parameter: Parameter) -> Parameter:
    """Say what a flag's value is called, if its definition does not, and what it is by default."""
    kind, *_, found = typing.get_args(parameter.annotation)
    option = copy(found)
    values = _value(kind)
    if values is not bool:
        option.metavar = option.metavar or _called(parameter.name, values)
    default = _default(parameter.default)
    if default and option.help and not option.hidden:
        option.help = f"{option.help.removesuffix('.')}; default: {default}."
    option.show_default = False
    return parameter.replace(annotation=typing.Annotated[kind, option])


def _value(kind: Any) -> Any:
    """Return the type of one value of a flag that may be left out or repeated."""
    inner = [each for each in typing.get_args(kind) if each is not NoneType]
    return kind if not inner or typing.get_origin(kind) is Literal else _value(inner[0])


def _called(name: str, kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "|".join(typing.get_args(kind))
    return {int: "N", float: "X", Path: "FILE"}.get(kind) or name.rpartition("_")[2].upper()


def _default(value: object) -> str:
    if value is True:
        return "on"
    if value is None or value is False or value is Parameter.empty:
        return ""
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
