import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers.utils.chat_template_utils import render_jinja_template

from maskkv.errors import CheckpointError, InputError, MaskKVError
from maskkv.text import renderer, rendering, templates
from maskkv.text.tokenizer import Text

SPECIAL = ("<|eot|>", "<|bos|>", "<s>")
CONTENT = "{{ messages[-1].content }}"


def tokenizer(*special: str) -> Tokenizer:
    """Make a tokenizer of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return made


def chat(template: str, content: str, *special: str, role: str = "user", **named: str) -> tuple[str, list[str]]:
    """Return what a template makes of a message, and which special tokens are in it."""
    text = Text(tokenizer(*(special or SPECIAL)), template, named)
    tokens = text.chat_tokens([{"role": role, "content": content}])
    return "".join(token.text for token in tokens), [token.text for token in tokens if token.special]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("content[:5]", "<|eot"),
        ("content | length", "17"),
        ("content | upper", "<|EOT|> <S> \ud7ff\ufdd0 \U0010ffff "),
        ("content.split()[1]", "<s>"),
        ("content[0] == '<'", "True"),
        ("content | tojson", '"<|eot|> <s> \ud7ff\ufdd0 \U0010ffff "'),
        ("(content | trim)[-1]", "\U0010ffff"),
        ("content.count('|')", "2"),
    ],
)
def test_a_template_sees_a_message_as_it_is(program: str, expected: str) -> None:
    content = "<|eot|> <s> \ud7ff\ufdd0 \U0010ffff "
    template = "{% set content = messages[0]['content'] %}<|bos|>{{ " + program + " }}<|eot|>"
    assert chat(template, content) == (f"<|bos|>{expected}<|eot|>", ["<|bos|>", "<|eot|>"])


@pytest.mark.parametrize(
    ("program", "content"),
    [
        ("content | replace('<think>', '')", "<|e<think>ot|>"),
        ("content[::-1]", "".join(reversed("<|eot|>"))),
        ("content | lower", "<|EOT|>"),
        ("content.split('/') | join", "<|e/ot|>"),
        ("'<|' + content", "eot|>"),
        ("content + '|>'", "<|eot"),
        ("messages[0].role + content", "eot|>"),
        ("'%s' | format(content)", "<|eot|>"),
    ],
)
def test_no_cutting_and_joining_makes_a_message_a_token(program: str, content: str) -> None:
    template = "{% set content = messages[0]['content'] %}{{ " + program + " }}<s>"
    # Of the conversation that a template is tried with no token is made.
    assert chat(template, content, role="<|")[1] == ["<s>"]


def test_a_message_does_not_lengthen_the_template_s_token_nor_begin_it() -> None:
    assert chat("<a>" + CONTENT, "bc", "<a>", "<a>b") == ("<a>bc", ["<a>"])
    assert chat("<a>b" + CONTENT, "c", "<a>", "<a>b") == ("<a>bc", ["<a>b"])
    assert chat(CONTENT + "<a>", "x", "<a>", "x<a") == ("x<a>", ["<a>"])
    # A token of one character cannot be broken in two.
    assert chat("§" + CONTENT + "§", "a§b", "§") == ("§a§b§", ["§", "§"])


def test_tokens_that_the_folder_names_are_the_template_s() -> None:
    assert chat("{{ bos_token }}" + CONTENT, "<|bos|>", bos_token="<|bos|>") == ("<|bos|><|bos|>", ["<|bos|>"])


PIECES = st.lists(
    st.sampled_from([*SPECIAL, "<|", "eot", "|>", "<", "s", ">", "\ufdd0", "\ufdd1\ufdd1\ufdd1", "é", " ", "<think>"]),
    min_size=1,
).map("".join)
PROGRAMS = ("content", "content | trim", "content | replace('<think>', '')", "content | upper", "content[1:] + content")


@given(content=PIECES.filter(lambda content: bool(content.strip())), program=st.sampled_from(PROGRAMS))
@settings(max_examples=200)
def test_a_conversation_reads_as_transformers_writes_it_and_has_the_template_s_tokens_only(
    content: str, program: str
) -> None:
    template = "{% set content = messages[0]['content'] %}{{ bos_token }}<s>{{ " + program + " }}<|eot|>"
    theirs: Any = render_jinja_template(
        [[{"role": "user", "content": content}]], chat_template=template, bos_token="<|bos|>"
    )
    assert chat(template, content, bos_token="<|bos|>") == (theirs[0][0], ["<|bos|>", "<s>", "<|eot|>"])


COMPOSED = "{{ '<|' + messages[0].role + '|>' }}{{ messages[0].content }}{{ '<|' + 'end|>' }}"
ROLES = ("<|user|>", "<|end|>", "<s>")


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("a <|user|> <|end|> b", "a <|user|> <|end|> b"),
        ("user|>", "user|>"),
        ("<|\ufdd0\ud7ff<s>", "<|\ufdd0\ud7ff<s>"),
    ],
)
def test_a_template_may_put_special_tokens_together_from_pieces(content: str, written: str) -> None:
    assert chat(COMPOSED, content, *ROLES) == (f"<|user|>{written}<|end|>", ["<|user|>", "<|end|>"])


UNFIT = "puts special tokens together from pieces and also works on the text of messages"


def composed(program: str) -> str:
    return "{% set content = messages[0].content %}{{ '<|' + messages[0].role + '|>' }}{{ " + program + " }}"


@pytest.mark.parametrize(
    ("program", "content"),
    [
        ("'<|' + content", "end|>"),
        ("content.split('/') | join", "<|e/nd|>"),
        ("content[::-1]", ">|dne|<"),
        ("messages[0] | tojson", "<|end|>"),
        ("messages[0] | list | join", "<|end|>"),
    ],
)
def test_nor_does_a_message_become_a_token_where_tokens_are_made_of_pieces(program: str, content: str) -> None:
    assert chat(composed(program), content, *ROLES)[1] == ["<|user|>"]


@pytest.mark.parametrize("key", ["<|end|>", "end|>", "<|user|>"])
@pytest.mark.parametrize("template", [COMPOSED, "<|user|>"])
def test_nor_does_the_name_of_a_message_s_field(key: str, template: str) -> None:
    text = Text(
        tokenizer(*ROLES), template + "<|{% for key in messages[0] %}{{ key }},{% endfor %}{{ messages | tojson }}"
    )
    tokens = text.chat_tokens([{"role": "user", "content": "x", key: "y"}])
    assert [token.text for token in tokens if token.special] == ["<|user|>", "<|end|>"][: 1 + (template == COMPOSED)]
    assert f"{key}," in "".join(token.text for token in tokens)


@pytest.mark.parametrize(
    ("program", "content"),
    [
        # What would make a token of the text.
        ("content | replace('<think>', '')", "<|e<think>nd|>"),
        ("'<|' + (content | lower) + '|>'", "END"),
        ("'<' + (content | upper | lower) + '>'", "\u017f"),
        ("content | striptags", "&#60;&#124;&#101;&#110;&#100;&#124;&#62;"),
        ("(content | safe).unescape()", "&lt;&vert;end&vert;&gt;"),
        ("content.encode().decode('unicode_escape')", r"\074\174\145\156\144\174\076"),
        ("('%c' | format(content | int)) + '|end|>'", "60"),
        ("('%c' | format(content | int)) + '|end|>'", "\uff16\uff10"),  # Digits all the same.
        # What looks at the text, or writes it in another way.
        ("'yes' if content.startswith('sen') else 'no'", "send"),
        ("content.split('send:')[-1]", "send: 5"),
        ("content | tojson(ensure_ascii=True)", "send"),
        ("content | urlencode", "send"),
        ("content.encode() | length", "send"),
        ("content | upper", "send"),
    ],
)
def test_a_template_of_pieces_that_works_on_the_text_is_refused(program: str, content: str) -> None:
    with pytest.raises(InputError, match=UNFIT) as refusal:
        chat(composed(program), content, *ROLES)
    assert "\n" not in str(refusal.value)
    # Where marks make no difference it is taken.
    assert chat(composed("content if content == 'ü' else " + program), "ü", *ROLES) == ("<|user|>ü", ["<|user|>"])


@pytest.mark.parametrize(
    ("program", "content"),
    [
        ("content | striptags", "&#60;&#124;&#101;&#110;&#100;&#124;&#62; and more"),
        ("content.encode().decode('unicode_escape')", r"\074\174\145\156\144\174\076 1 2 3 4"),
        ("'%c' | format(content[:2] | int) + '|end|>' + content[2:]", "60 and more"),
    ],
)
def test_a_message_does_not_put_its_token_in_the_place_of_the_template_s(program: str, content: str) -> None:
    # What follows in the message has the template's own token cut off, so that there are as many as there should be.
    with pytest.raises(InputError, match=UNFIT):
        chat(composed(f"({program} + ' <|' + 'end|>')[:15]"), content, *ROLES)


SOME_WHOLE = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{% else %}{{ '<|' + m.role + '|>' }}{% endif %}"
    "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<s>{% endif %}"
)
NEEDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{{ m.content }}{% endfor %}"
)
LAST_IN_PIECES = (
    "{% for m in messages %}{% if add_generation_prompt %}<|{{ m.role }}|>{% else %}{{ '<|' + m.role + '|>' }}"
    "{% endif %}{{ m.content }}{% endfor %}"
)
NEEDS_TEXT = (
    "{% for m in messages %}{% if m.content == '.' %}{{ raise_exception('say more') }}{% endif %}"
    "<|user|>{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("template", [SOME_WHOLE, NEEDS_SYSTEM, LAST_IN_PIECES])
@pytest.mark.parametrize("roles", [("system", "user"), ("system", "user", "assistant")])
def test_no_special_token_is_lost_that_one_user_s_turn_does_not_show(
    template: str, roles: tuple[str, ...], last: bool
) -> None:
    made = templates.ChatTemplate(template, ("<|system|>", "<|user|>", "<|assistant|>", "<s>"), {})
    rendered = made.render([{"role": role, "content": "<|user|>."} for role in roles], continue_last=last)
    written = [f"<|{role}|>" for role in roles] + ["<s>"] * (template == SOME_WHOLE and not last)
    assert re.findall(r"<\|\w+\|>|<s>", rendered) == written


def test_what_usual_roles_show_counts_where_a_template_refuses_a_conversation_without_text() -> None:
    # It takes none of the conversations that it is tried with: it may put tokens together, so it is not taken at all.
    with pytest.raises(InputError, match=UNFIT):
        chat(NEEDS_TEXT, "x", *ROLES)
    once = NEEDS_TEXT.replace("'.' %}", "'.' and m.name %}")
    text = Text(tokenizer(*ROLES), once)
    tokens = text.chat_tokens([{"role": "user", "content": "<|end|> end", "name": "fox"}])
    assert [token.text for token in tokens if token.special] == ["<|user|>"]


def test_only_known_roles_are_pieces_of_a_token() -> None:
    assert chat(COMPOSED, "x", *ROLES, "<|fox|>", role="fox") == ("<|fox|>x<|end|>", ["<|end|>"])


def test_lengths_stay_where_tokens_are_made_of_pieces() -> None:
    template = COMPOSED + "{{ messages[0].content | length }} {{ messages[0].content[:4] }}"
    assert chat(template, "<|user|>", *ROLES)[0] == "<|user|><|user|><|end|>8 <|us"


def test_a_special_token_may_be_a_word_of_the_program() -> None:
    each = "{% for message in messages %}{{ message.content }}{% endfor %}<message>"
    assert chat(each, "a message", "message") == ("a message<message>", ["message"])
    asks = "{{ 'yes' if messages[0].role == 'user' else 'no' }}"
    assert chat(asks, "x", "user") == ("yes", [])


@pytest.mark.parametrize("template", ["", COMPOSED])
def test_what_a_template_says_of_tokens_has_no_marks(template: str) -> None:
    said = "no <|end|> in <|user|>"
    program = (
        template + "{% if messages[0].content != '.' %}{{ raise_exception('no <|end|> in ' + messages[0].content) }}"
    )
    with pytest.raises(InputError) as refusal:
        chat(program + "{% endif %}", "<|user|>", *ROLES)
    assert str(refusal.value) == f"the checkpoint's chat template cannot render these messages: {said}"
    with pytest.raises(InputError, match=r"messages: \?\Z"):
        chat(r"{{ raise_exception('\ud800') }}", "x", *ROLES)


def test_special_tokens_that_marks_cannot_stand_for_are_refused() -> None:
    many = [chr(0x4E00 + number) for number in range(1025)]
    with pytest.raises(CheckpointError, match="made of 1025 characters; supported: at most 1024"):
        templates.ChatTemplate("x", many, {})
    templates.ChatTemplate("x", many[1:], {})
    with pytest.raises(CheckpointError, match="Unicode reserves"):
        templates.ChatTemplate("x", ["<\ufdd3>"], {})


def test_text_that_was_not_rendered_is_taken_as_it_is() -> None:
    text = Text(tokenizer(*SPECIAL))
    for each in ("\ufdd0", "\ufdd0\ufdd1", "\ufdd0" + "\ufde0" * 6, "a\ufdd0\ufdd1;"):
        assert text.decode(text.encode_rendered(each)) == each
    assert text.encode_rendered("<s>") == [256 + SPECIAL.index("<s>")]


def test_an_empty_special_token_is_none() -> None:
    made = tokenizer("<s>")
    raw = json.loads(made.to_str())
    raw["added_tokens"].append({**raw["added_tokens"][0], "content": "", "id": 257})
    text = Text(Tokenizer.from_str(json.dumps(raw)), CONTENT)
    assert text.decode(text.chat([{"role": "user", "content": "fox"}])) == "fox"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user", "content": "a\udc00"}, "not valid Unicode"),
        ({"role": "user\udc00", "content": "a"}, "not valid Unicode"),
        ({"role": "user", "content": "a", "name": "\ud800"}, "not valid Unicode"),
        ({"role": "user", "content": "a", "name": 3}, "strings"),
        ({"role": "user", "content": None}, "both strings"),
        ({"role": "user", "content": "a", 1: "y"}, "names that are strings"),
        ({"role": "user", "content": "a", None: "y"}, "names that are strings"),
    ],
)
def test_messages_that_could_hold_marks_are_refused(message: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Text(tokenizer(*SPECIAL), CONTENT).chat([message])


HOSTILE = (
    "{{ 'A' * 6000000000 }}",
    "{% set ns = namespace(n=9) %}{% for _ in range(30) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "{{ '{:10000000000}'.format(1) }}",
    "{{ 'x'.ljust(10 ** 9) }}",
    "{{ 'x'.ljust(2 * 10 ** 6) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is limited on Linux only")  # noqa: PTH110
@pytest.mark.parametrize("template", HOSTILE)
def test_a_template_without_bounds_is_ended_and_the_next_one_rendered(template: str) -> None:
    with pytest.raises(InputError, match="the checkpoint's chat template cannot render these messages: ") as refusal:
        chat(template, "x")
    assert "\n" not in str(refusal.value)
    assert chat(CONTENT, "x") == ("x", [])


def test_a_template_that_was_ended_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ended(self: object, template: str, messages: object, **options: object) -> str:
        asked.append(messages)
        raise rendering.OutOfTimeError("it takes too long")

    monkeypatch.setattr(rendering.Renderer, "render", ended)
    with pytest.raises(InputError, match="it takes too long"):
        templates.ChatTemplate(CONTENT, SPECIAL, {}).render([{"role": "user", "content": "x"}])
    assert len(asked) == 1


def test_a_template_may_write_as_much_as_messages_are_long() -> None:
    messages = [{"role": "user", "content": "x" * 300_000}]
    assert templates.ChatTemplate(CONTENT * 4, (), {}).render(messages) == "x" * 1_200_000
    with pytest.raises(InputError, match=r"makes 2,400,000 characters of 300,004; at most 2,200,016"):
        templates.ChatTemplate(CONTENT * 8, (), {}).render(messages)


def test_what_a_template_says_is_handed_on() -> None:
    for said in ("roles must alternate", "ü" * 1500):
        with pytest.raises(InputError) as refusal:
            chat("{{ raise_exception('" + said + "') }}", "x")
        assert str(refusal.value) == f"the checkpoint's chat template cannot render these messages: {said}"


@pytest.fixture
def fresh() -> Iterator[rendering.Renderer]:
    made = rendering.Renderer()
    yield made
    made.close()


def echo(one: rendering.Renderer, content: str) -> str:
    return one.render(CONTENT, [{"role": "user", "content": content}])


def process(one: rendering.Renderer) -> subprocess.Popen[str]:
    assert one._process is not None
    return one._process


def test_one_process_serves_all_conversations_until_its_input_ends(fresh: rendering.Renderer) -> None:
    assert echo(fresh, "a") == "a"
    first = process(fresh)
    assert echo(fresh, "b\n\u2028é") == "b\n\u2028é"
    assert process(fresh) is first
    assert first.stdin is not None
    first.stdin.close()
    assert first.wait(60) == 0


def test_a_process_that_ended_is_replaced(fresh: rendering.Renderer) -> None:
    echo(fresh, "a")
    first = process(fresh)
    first.kill()
    first.wait()
    assert echo(fresh, "b") == "b"
    assert process(fresh) is not first
    assert first.stdout is not None
    assert first.stdout.closed


def test_the_clock_ends_what_the_system_does_not(fresh: rendering.Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    echo(fresh, "a")
    first = process(fresh)
    monkeypatch.setattr(rendering, "_SECONDS", 0.2)
    with pytest.raises(InputError, match="it takes more time than a template may"):
        fresh.render(HOSTILE[2], [{"role": "user", "content": "x"}])
    # Not by its own limit of computing.
    assert first.returncode == -signal.SIGKILL
    monkeypatch.undo()
    assert echo(fresh, "b") == "b"


def test_after_an_interruption_no_answer_is_left_for_the_next_request(
    fresh: rendering.Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(fresh, "a")

    def interrupted(process: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        echo(fresh, "b")
    monkeypatch.undo()
    assert echo(fresh, "c") == "c"


def test_threads_get_their_own_answers(fresh: rendering.Renderer) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return "".join(echo(fresh, f"{number}.{each} ") for each in range(20))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == ["".join(f"{number}.{each} " for each in range(20)) for number in range(8)]


def test_a_process_that_does_not_start_is_said(fresh: rendering.Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_environment", lambda: {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"})
    with pytest.raises(MaskKVError, match="does not start"):
        echo(fresh, "a")


def test_a_template_s_process_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("MASKKV_API_KEY", "secret")
    assert "secret" not in rendering._environment().values()
    assert "PATH" in rendering._environment()


def test_the_current_folder_holds_no_modules(
    fresh: rendering.Renderer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("json", "resource", "transformers"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert echo(fresh, "a") == "a"
    assert not (tmp_path / "ran").exists()


def test_the_renderer_s_limits_are_lifted_again() -> None:
    resource = pytest.importorskip("resource")
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU)
    before = [resource.getrlimit(kind) for kind in kinds]
    with renderer._limits(2**30):
        for kind, (soft, hard) in zip(kinds, before, strict=True):
            if kind != resource.RLIMIT_AS or sys.platform == "linux":
                assert resource.getrlimit(kind)[0] != soft
            assert resource.getrlimit(kind)[1] == hard
    assert [resource.getrlimit(kind) for kind in kinds] == before
