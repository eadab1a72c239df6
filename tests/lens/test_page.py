"""The page holds the inspection, and a hostile document stays text in it."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import maskkv
from maskkv import lens, policies
from maskkv.generation import Generation
from maskkv.mini import sample
from maskkv.text.tokenizer import Token
from tests.cli.tiny import save_tiny

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\u2028\u202e $data"


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.content = [("", {})], {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        tag, attributes = self.found[-1]
        if tag in ("style", "script", "title"):
            self.content.setdefault(attributes.get("type", tag), data)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    llm = maskkv.load(save_tiny(tmp_path_factory.mktemp("tiny")))
    tokens = llm.prompt_tokens(sample("multi-key", 60, 4).content)
    return lens.inspect(llm, tokens, Generation(gen_length=8), policies.named("maskkv"), 5)


def test_the_page_carries_the_whole_sweep(seen):
    data = json.loads(Elements(lens.html(seen, "x")).content["application/json"])
    positions = iter(np.frombuffer(base64.b64decode(data["sweep"]["order"]), "<u2").tolist())
    counts = np.array(data["sweep"]["counts"])
    order = [
        [[next(positions) for _ in range(counts[:, layer, head].max())] for head in range(2)] for layer in range(3)
    ]
    assert next(positions, None) is None
    assert order == seen.sweep.order
    assert "".join(data["tokens"]) == sample("multi-key", 60, 4).content + " answer :"
    assert data["evicted"]["cache_bytes"] < data["full"]["cache_bytes"]
    assert data["special"] == []


def test_a_hostile_document_is_data(seen):
    tokens = [Token(0, HOSTILE, special=True), *seen.tokens[1:]]
    page = Elements(lens.html(replace(seen, tokens=tokens), f"{HOSTILE}.txt"))
    assert [tag for tag, _ in page.found if tag in ("script", "img")] == ["script", "script"]
    data = json.loads(page.content["application/json"])
    assert data["tokens"][0] == HOSTILE
    assert data["special"] == [0]
    assert page.content["title"] == f"{HOSTILE}.txt"


def test_nothing_else_may_run_or_load(seen):
    page = Elements(lens.html(seen, "x"))
    policy = next(each["content"] for tag, each in page.found if each.get("http-equiv") == "Content-Security-Policy")
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(page.content[kind].encode()).digest()).decode() + "'"
        for kind in ("style", "module")
    ]
    assert policy.split("; ")[:3] == ["default-src 'none'", f"style-src {hashes[0]}", f"script-src {hashes[1]}"]
    assert not re.search(r"https?:|innerHTML|insertAdjacent|document\.write", lens.html(seen, "x"))


def test_answers_that_differ_say_where(seen):
    one, other = seen.evicted.said, seen.full.said
    length = max(len(one), len(other))
    padded = [(said + [None] * length)[:length] for said in (one, other)]
    assert seen.differing == [at for at in range(length) if padded[0][at] != padded[1][at]]
    assert len(seen.differing) > 0


def test_a_longer_answer_differs_to_its_end(seen, monkeypatch, tmp_path):
    llm = maskkv.load(save_tiny(tmp_path / "tiny"))
    tokens, maskkv_policy = llm.prompt_tokens(sample("multi-key", 60, 4).content), policies.named("maskkv")
    evicted = llm.generate_ids([each.id for each in tokens], Generation(gen_length=8), policy=maskkv_policy, budget=5)
    monkeypatch.setattr(type(llm), "said", lambda self, ids: [7] * (3 if list(ids) == evicted.tokens else 5))
    found = lens.inspect(llm, tokens, Generation(gen_length=8), maskkv_policy, 5)
    assert found.differing == [3, 4]


def test_no_two_modules_declare_the_same_name(seen):
    """The page joins them into one script."""
    script = Elements(lens.html(seen, "x")).content["module"]
    declared = re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", script, re.MULTILINE)
    assert len(declared) == len(set(declared)) > 30
