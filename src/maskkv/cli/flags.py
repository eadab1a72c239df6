"""Flags that several commands share: a command takes dataclasses, the command line one flag per field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from maskkv.budget import DEFAULT_BUDGET, Budget, read_budget
from maskkv.checks import MOST, quoted
from maskkv.cli import described, help_pages, old_flags, refusals
from maskkv.errors import InputError, MaskKVError
from maskkv.generation import Generation
from maskkv.loading import Loading

if TYPE_CHECKING:
    from maskkv.api import LanguageModel
    from maskkv.eviction.policy import Policy

Command = Callable[..., None]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]

GENERATION_HELP = {
    "gen_length": "Tokens of the response; a multiple of the block length, unless --shares is rounded.",
    "steps": "Denoising steps for the whole response; default: one per token.",
    "block_length": "Blocks are finished from left to right.",
    "temperature": "0 takes the likeliest token; above, tokens are drawn.",
    "remasking": "Which masks are committed first: the surest, any, or the leftmost (LLaDA's sampler).",
    "shares": "Masks per step: largest_first (LLaDA) or rounded (A2D; any lengths fit); default: the model's.",
    "seed": "Seed of everything drawn.",
    "prompt_interval": "Steps from one refresh of the prompt's cache to the next.",
    "response_interval": "Steps from one refresh of the response's cache to the next.",
    "transfer_ratio": "Part of the response's rows recomputed between refreshes, 0 to 1.",
    "one_pass": "Read the prompt in the first step only.",
    "min_confidence": "Read the prompt again, instead of committing, when no candidate is this sure.",
    "value_drift": "Read the prompt again once the response's values have moved this far since.",
    "threshold": "Commit every mask that is at least this sure.",
    "factor": "Commit the n surest masks while (n + 1)(1 - confidence of the n-th) is at most this.",
    "edit_threshold": "Block-causal: replace tokens of the block that others are surer than this to be (LLaDA2.1).",
    "max_post_steps": "With --edit-threshold: passes over a block without a mask, at most.",
    "min_transfer": "With --edit-threshold: masks that a step commits at least.",
    "stop_at_eos": "Stop when everything before an end token is committed.",
    "cfg_scale": "Strength of classifier-free guidance; doubles the work.",
    "logits_eos_inf": "Never predict the end of the response.",
    "confidence_eos_eot_inf": "Commit end tokens after all others (LLaDA's sampler).",
    "alg": "Use Dream's sampler with this rule.",
    "alg_temp": "Dream: above 0, draw the positions, the surer the likelier.",
    "eps": "Dream: noise level at the end of the schedule.",
    "top_p": "Dream: keep the likeliest tokens that together reach this probability.",
    "top_k": "Dream: keep this many of the likeliest tokens.",
}
"""What each field of `Generation` means; a field without an entry here breaks the command line's start."""


def load(loading: Loading) -> LanguageModel:
    """Load a model, and say so while it takes."""
    from maskkv import api
    from maskkv.cli import terminal

    with terminal.waiting(f"loading {loading.model or 'the bundled dLLM'}"):
        return api.load_model(loading)


@dataclass(frozen=True)
class PolicyFlags:
    """Say which prompt pairs are kept."""

    policy: Annotated[
        str,
        typer.Option(
            help="Any name that `maskkv policies` lists, module:NAME for one of your own, or "
            "either with changes: 'maskkv(tally=max)'."
        ),
    ] = "maskkv"
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS|PERCENT",
            help="Prompt pairs that a KV head keeps per layer, on average, or a part of the prompt's tokens, as in 5%, "
            f"rounded up; default: {DEFAULT_BUDGET} with a policy that evicts.",
        ),
    ] = None
    layer_budget: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Split pairs over layers as this policy does, or uniform.",
        ),
    ] = None
    head_budget: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Split pairs over heads as this policy does, or uniform.",
        ),
    ] = None
    voters: Annotated[
        str | None,
        typer.Option(
            metavar="VOTERS",
            help="Rank pairs by the votes of: mask, mask-last:N, mask-first:N, mask-part:I/N, block, last:N, prompt or "
            "all.",
        ),
    ] = None
    tally: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Count votes by: sum, max, rising or falling (later or earlier voters weigh more).",
        ),
    ] = None
    value_weighted: Annotated[
        bool | None, typer.Option("--value-weighted", help="Multiply votes by the value's norm.")
    ] = None
    pooled: Annotated[bool | None, typer.Option("--pooled", help="Sum votes over all KV heads.")] = None
    kernel: Annotated[int | None, typer.Option(metavar="K", help="Max-pool votes over K neighbouring pairs (odd).")] = (
        None
    )
    protect_window: Annotated[
        bool | None, typer.Option("--protect-window", help="SnapKV's voters always keep their own pairs.")
    ] = None
    layer_base: Annotated[
        float | None, typer.Option(metavar="BETA", help="Part of the pairs that all layers share evenly, 0 to 1.")
    ] = None
    boundary_layers: Annotated[int | None, typer.Option(metavar="N", help="Boundary layers at each end.")] = None
    head_base: Annotated[
        float | None, typer.Option(metavar="ALPHA", help="Part of a layer's pairs that its heads share evenly, 0 to 1.")
    ] = None
    revote: Annotated[
        bool | None,
        typer.Option(
            "--revote/--no-revote",
            help="Vote again at later prompt refreshes, or keep the first choice.",
        ),
    ] = None
    evicted: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="What becomes of evicted pairs: drop (the paper's), host, where they wait and come back when the rows "
            "that read want them, or device, for each block of a block-causal model to choose from.",
        ),
    ] = None
    recall_interval: Annotated[
        int | None, typer.Option(metavar="STEPS", help="With host: let pairs come back in every so many-th step.")
    ] = None
    index: Annotated[
        str | None,
        typer.Option(
            metavar="KEYS", help="With host: scan the keys there (none) or a copy of them on the device, int8 or int4."
        ),
    ] = None
    host_dtype: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="With host: store pairs in the model's dtype (auto) or int8."),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what is no budget before a model is loaded."""
        if self.budget is not None:
            read_budget(self.budget)

    def chosen(self) -> Policy:
        """Return the policy, with the changes asked for."""
        from maskkv import mixing

        flags = {field.name: getattr(self, field.name) for field in fields(self)}
        changes = {name: value for name, value in flags.items() if name not in ("policy", "budget")}
        return mixing.mix(mixing.resolve(self.policy), **changes)

    def budget_for(self, policy: Policy) -> Budget:
        """Return the budget for this policy, a part of the prompt as it was given; None if it evicts nothing."""
        if not policy.can_evict:
            return None
        return DEFAULT_BUDGET if self.budget is None else read_budget(self.budget)


class Without:
    """Give fields of a dataclass no flags: `Annotated[PolicyFlags, Without("policy")]`.

    They keep their defaults, or are worked out from the other flags by what is given under their names.
    """

    def __init__(self, *names: str, **worked_out: Callable[[Mapping[str, Any]], Any]) -> None:
        self.names = frozenset((*names, *worked_out))
        self.worked_out = worked_out

    def built(self, kind: Any, flags: Mapping[str, Any]) -> Any:
        """Make the dataclass from the other fields' flags."""
        return kind(**flags, **{name: work_out(flags) for name, work_out in self.worked_out.items()})


NOTHING = Without()


def flagged(function: Command) -> Command:
    """Turn a function of dataclasses into one of flags, and add `--debug`, which a function may ask for as well.

    A parameter whose type is a dataclass becomes a keyword per field; the others stay. With `--debug` an error that
    maskkv raised on purpose shows its traceback before it is reported as usual.
    """
    hints = get_type_hints(function, include_extras=True)
    grouped = {name: found for name, hint in hints.items() if (found := _grouped(hint)) is not None}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in grouped:
            parameters += _flags(*grouped[parameter.name])
        else:
            kind = hints[parameter.name]
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
    asks = "debug" in hints
    if not asks:
        parameters.append(inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug))
    if any(help_pages.place(function.__name__, each.name)[2] for each in parameters):
        parameters.append(help_pages.help_all())
    parameters = [help_pages.worded(each) for each in parameters]

    def run(**given: Any) -> None:
        given.pop("help_all", None)
        debug = given["debug"] if asks else given.pop("debug")
        try:
            _check_sizes(given)
            old_flags.take(given)
            built = {
                name: left_out.built(kind, {each: given.pop(each) for each in _names(kind, left_out)})
                for name, (kind, left_out) in grouped.items()
            }
            function(**built, **given)
        except (MaskKVError, OSError) as error:
            if debug:
                refusals.trace(error)
            raise

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    # What typer reads to find out the flags.
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _check_sizes(given: Mapping[str, Any]) -> None:
    """Refuse whole numbers that no count, length or seed can be: Python's own have no end."""
    for name, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, int) and abs(each) > MOST:
                raise InputError(f"--{name.replace('_', '-')} {quoted(each)}: expected a number up to {MOST}")


def _grouped(hint: Any) -> tuple[Any, Without] | None:
    """Return the dataclass that a parameter stands for, with what it leaves out; None for any other parameter."""
    if is_dataclass(hint):
        return hint, NOTHING
    kind, *notes = get_args(hint) or (None,)
    left_out = [note for note in notes if isinstance(note, Without)]
    return (kind, left_out[0]) if left_out else None


def _names(kind: Any, left_out: Without) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in left_out.names]


def _flags(kind: Any, left_out: Without) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if field.name in left_out.names:
            continue
        annotation = described.option(field, hints[field.name])
        if kind is Generation:
            annotation = Annotated[annotation, typer.Option(help=GENERATION_HELP[field.name])]
        flag = inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=described.default(field), annotation=annotation
        )
        yield flag
        yield from old_flags.hidden(flag)
