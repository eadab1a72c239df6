"""Help in groups, with an example first; what only research needs is shown by `--help-all`."""

import re
import shlex

import pytest
import typer

from maskkv.cli import app, help_pages

COMMANDS = typer.main.get_command(app).commands
READABLE = re.compile(r"[A-Z]+|\[?[A-Z]+\]?|PAIRS\|PERCENT|N\|N-M|I/N|FIELD=VALUE|DIR_OR_FILE|N\[:WEIGHT\],\.\.\.")
CHOICES = re.compile(r"[a-z_]+(\|[a-z_]+)+")
RESEARCH = ("--layer-base", "--tally", "--transfer-ratio", "--alg-temp", "--host-dtype", "--rope-scale")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_group_and_a_readable_value(name):
    command = COMMANDS[name]
    assert isinstance(command, help_pages.Grouped)
    for parameter in command.params:
        group, *_ = help_pages.place(name, parameter.name)
        assert group in help_pages.GROUPS
        value = parameter.metavar
        switch = value is None and parameter.param_type_name == "option"
        assert switch or READABLE.fullmatch(value) or CHOICES.fullmatch(value), parameter.name
        assert switch == isinstance(parameter.default, bool) or parameter.default is None, parameter.name


def test_every_name_of_the_table_is_a_flag_of_some_command():
    flags = {parameter.name for command in COMMANDS.values() for parameter in command.params} | {"help"}
    listed = [name for shown, research in help_pages.GROUPS.values() for name in f"{shown} {research}".split()]
    assert len(listed) == len(set(listed))
    for name in listed:
        command, dot, flag = name.rpartition(".")
        assert flag in ({each.name for each in COMMANDS[command].params} if dot else flags)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_comes_first_and_makes_sense_to_the_command(run, name):
    shown = run(name, "--help").out.splitlines()
    assert shown[0].startswith(f"Usage: maskkv {name} [OPTIONS]")
    example = shown[1].removeprefix("Example: ")
    assert len(shown[1]) <= 80
    for part in example.partition(" > ")[0].split(" | "):
        program, command, *args = shlex.split(part)
        assert program == "maskkv"
        assert COMMANDS[command].make_context(command, args).params
    assert f"maskkv {name}" in example


def test_an_example_answers_right(run, monkeypatch, tmp_path):
    """The first that a newcomer sees; a pipe of the shell is a file here."""
    _, _, answers = run("generate", "--help").out.splitlines()[1].partition(" | ")
    asked = run("sample", "single-key")
    document = tmp_path / "document.txt"
    document.write_text(asked.out)
    words = [str(document) if word == "-" else word for word in shlex.split(answers)[1:]]
    words.insert(words.index(str(document)), "--file")
    assert f"expected answer: {run(*words).out}" == asked.err


def test_groups_stand_in_one_order_and_research_is_hidden(run):
    shown = run("generate", "--help").out
    groups = ["Prompt", "Model", "Policy", "Response", "Schedule", "Sampler", "Memory", "Output", "Help"]
    assert re.findall(r"^([\w-]+):$", shown, re.MULTILINE) == groups
    for flag in RESEARCH:
        assert flag not in shown
    assert shown.count("\n") < 100


def test_help_all_shows_everything_there_is(run):
    shown = run("generate", "--help-all").out
    for parameter in COMMANDS["generate"].params:
        if not parameter.hidden:
            assert f"  {help_pages._spelt(parameter)}" in shown
    assert all(f"  {flag} " in shown for flag in RESEARCH)
    assert "--doubt" not in shown, "the old name of a flag"
    for name, command in COMMANDS.items():
        hides = any(help_pages.place(name, each.name)[2] for each in command.params)
        assert hides == any(each.name == "help_all" for each in command.params)


def test_defaults_are_said_in_one_way(run):
    shown = " ".join(run("eval", "--help-all").out.split())
    assert "[default" not in shown
    assert "<" not in shown
    assert "--first-seed N Seed of the first example; default: 1000." in shown
    assert "--seed N Seed of everything drawn; default: 0." in shown
    assert (
        "--stop-at-eos / --no-stop-at-eos Stop when everything before an end token is committed; default: on." in shown
    )
    assert "--one-pass Read the prompt in the first step only." in shown
    assert "; default: 128." in shown
    assert "recomputed between refreshes, 0 to 1; default: 0.25." in shown
    assert "Usage: maskkv eval [OPTIONS] NAME... Example: " in shown


def test_seeds_of_documents_are_no_seeds_of_a_sampler(run):
    for name, group in (("sample", "Examples"), ("bench", "Workload"), ("generate", "Sampler")):
        before, _, _ = run(name, "--help").out.partition("\n  --seed ")
        assert re.findall(r"^([\w-]+):$", before, re.MULTILINE)[-1] == group


def test_no_summary_is_cut(run):
    shown = run("--help").out
    assert "..." not in shown.partition("Commands:")[2]
    for command in COMMANDS.values():
        assert str(command.short_help) == " ".join(str(command.help).split("\n\n")[0].split())
        assert " ".join(str(command.short_help).split()) in " ".join(shown.split())
