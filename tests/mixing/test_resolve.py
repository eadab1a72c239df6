"""Policies of the user's own, by module and name; the example is the one that the documents print."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskkv
from maskkv.errors import InputError
from maskkv.mixing import given, resolve
from maskkv.policies import named

EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
DOCUMENT = Path(__file__).parents[2] / "docs" / "policies.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in an empty folder, and forget afterwards what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def example() -> str:
    found = EXAMPLE.search(DOCUMENT.read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def test_a_bundled_name() -> None:
    assert resolve("maskkv") is named("maskkv")
    with pytest.raises(InputError, match="unknown policy 'snapvk'"):
        resolve("snapvk")


def test_a_module_in_the_current_directory(folder: Path) -> None:
    (folder / "my_policies.py").write_text(example())
    policy = resolve("my_policies:POLICY")
    assert policy.name == "late-votes"
    assert repr(policy.scorer) == "LateVotes(end=2.0)"
    assert maskkv.load(policy="my_policies:POLICY").policy == policy
    assert repr(resolve("my_policies:POLICY(end=3)").scorer) == "LateVotes(end=3.0)"


def test_a_module_in_a_package_with_a_sibling(folder: Path) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").touch()
    (folder / "mine" / "shared.py").write_text("from maskkv.mixing import mix\nfrom maskkv.policies import named\n")
    (folder / "mine" / "first.py").write_text("from mine.shared import *\nBEST = mix(named('h2o'), kernel=3)\n")
    assert resolve("mine.first:BEST").name == "h2o(kernel=3)"


def test_an_installed_module() -> None:
    assert resolve("maskkv.policies.knorm:POLICY") is named("knorm")


@pytest.mark.parametrize(
    ("spelling", "says"),
    [
        ("nosuch_module:POLICY", r"cannot import nosuch_module .*ModuleNotFoundError: No module named 'nosuch_module'"),
        ("broken:POLICY", r"cannot import broken .*ZeroDivisionError: division by zero"),
        ("maskkv.policies.knorm:NOSUCH", "maskkv.policies.knorm has no maskkv.Policy called NOSUCH"),
        ("maskkv.policies.knorm:ShortKeys", "has no maskkv.Policy called ShortKeys"),
        ("maskkv:", "expected a name, or module:NAME as in my_policies:POLICY"),
        (":POLICY", "expected a name, or module:NAME"),
        ("my/policies.py:POLICY", "expected a name, or module:NAME"),
        ("a.:POLICY", "expected a name, or module:NAME"),
        ("a:b:c", "expected a name, or module:NAME"),
    ],
)
def test_refuses(folder: Path, spelling: str, says: str) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match=says):
        resolve(spelling)


def test_names_alone_import_nothing(folder: Path) -> None:
    """What a request says may reach `named`, `given` and a call's own policy: none of them runs anybody's code."""
    (folder / "hostile.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    llm = maskkv.load()
    for refused in (named, given, lambda name: llm.generate("anna", gen_length=8, policy=name)):
        with pytest.raises(InputError, match="unknown policy 'hostile:POLICY'"):
            refused("hostile:POLICY")
    assert not (folder / "ran").exists()
