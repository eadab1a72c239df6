"""The package as a whole: its metadata, its error tree, and the house rules that no linter checks."""

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskkv
from maskkv import errors

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src" / "maskkv").rglob("*.py"))
EVERY_MODULE = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(ROOT / "src" / "maskkv")) for path in MODULES]
)
FORBIDDEN = {
    *("pickle", "marshal", "shelve", "torch.load", "eval", "exec"),
    *("trust_remote_code", "environ", "getenv"),
}


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(source: str) -> Iterator[str]:
    """Yield the names that code (not its strings or comments) uses; `x.eval` is not the builtin `eval`."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                yield f"torch.{name}"
            case ast.Attribute(attr="eval" | "exec"):
                pass
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name) | ast.ImportFrom(module=str(name)):
                # The package has a module of this name; importing it is not calling the builtin.
                yield from name.replace("maskkv.eval", "maskkv").split(".")


def test_version_is_that_of_pyproject() -> None:
    assert maskkv.__version__ == importlib.metadata.version("maskkv") == project()["version"]


def test_constraints_pin_every_dependency_inside_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin) for pin in pins), "pins are bare releases"
    assert pins == sorted(pins, key=lambda pin: pin.split("==")[0])
    pinned = {pin.split("==")[0] for pin in pins}
    declared = {
        re.match(r"[\w-]+", requirement).group().replace("_", "-").lower()
        for requirement in importlib.metadata.requires("maskkv")
    }
    assert declared <= pinned


def test_errors_are_the_documented_tree() -> None:
    tree = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and issubclass(cls, BaseException)}
    assert set(tree) == {"MaskKVError", "InputError", "CheckpointError", "DeviceLostError", "ProfileError"}
    assert all(issubclass(cls, errors.MaskKVError) for cls in tree.values())
    assert errors.InputError.__bases__ == (errors.MaskKVError, ValueError)
    assert all(name in errors.__doc__ for name in tree)


@EVERY_MODULE
def test_module_says_what_it_is_for_in_one_line(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith(".")


@EVERY_MODULE
def test_module_runs_no_foreign_code_and_reads_no_environment(path: Path) -> None:
    used = FORBIDDEN.intersection(names(path.read_text(encoding="utf-8")))
    # These modules hand the environment on: to processes of their own, one less its secrets, or with settings that Ray
    # and gloo read nowhere else; they take nothing from there.
    hands_on = path.name == "rendering.py" or path.parts[-2:] in (("cluster", "local.py"), ("parallel", "group.py"))
    assert used == ({"environ"} if hands_on else set())


@EVERY_MODULE
def test_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from os import environ",
        "import os\nos.getenv('X')",
        "load(path, trust_remote_code=True)",
        "def load(trust_remote_code): ...",
        "eval('1')",
        "torch.load(path)",
    ],
)
def test_the_search_for_forbidden_names_finds_them(source: str) -> None:
    assert FORBIDDEN.intersection(names(source))


def test_the_search_for_forbidden_names_reads_code_only() -> None:
    innocent = '"""Never pickle or eval."""  # environ\nx = "getenv"\nmodel.eval()'
    assert not FORBIDDEN.intersection(names(innocent))
