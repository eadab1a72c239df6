"""`maskkv chat`: through a pipe in this process, and on a terminal as a process of its own."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

import maskkv
from maskkv import mixing
from maskkv.cli.chat import _status
from maskkv.cli.condensing import Condensing
from maskkv.cli.conversation import Conversation
from maskkv.cli.flags import PolicyFlags
from maskkv.mini import sample
from maskkv.result import finish
from tests.cli.test_main import PROGRAM, heed_interrupts
from tests.cli.tiny import tiny_model
from tests.reference import random_model

SAMPLE = sample("multi-key", 120, 3)
FIRST, SECOND = "anna holds 1 .", "question : anna holds what ?"
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Stdin(io.TextIOWrapper):
    def __init__(self, *lines):
        super().__init__(io.BytesIO("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")))


@pytest.fixture
def chat(run, tiny, monkeypatch):
    """Pipe lines into a chat on the tiny model."""

    def chat(*lines, flags=()):
        monkeypatch.setattr("sys.stdin", Stdin(*lines))
        return run("chat", "--model", tiny, "--budget", 4, "--gen-length", 8, *flags)

    return chat


@pytest.fixture(scope="module")
def llm(tiny):
    return maskkv.load(tiny, policy="maskkv", budget=4)


def answers(llm, *questions, **settings):
    """Hold the conversation through the library."""
    turns, said = [], []
    for question in questions:
        turns.append({"role": "user", "content": question})
        said.append(llm.chat(turns, gen_length=8, **settings).text)
        turns.append({"role": "assistant", "content": said[-1]})
    return said


def lines(*said):
    return "".join(f"{each}\n" for each in said)


def test_each_line_of_a_pipe_is_a_turn_of_one_conversation(chat, llm):
    ran = chat(FIRST, "", SECOND)
    together, apart = answers(llm, FIRST, SECOND), answers(llm, SECOND)
    assert together[1] != apart[0], "the test sees no history"
    assert (ran.status, ran.out, ran.err) == (0, lines(*together), "")


def test_clear_forgets_what_was_said(chat, llm):
    ran = chat(FIRST, "/clear", SECOND)
    assert (ran.status, ran.out) == (0, lines(*answers(llm, FIRST), *answers(llm, SECOND)))
    assert ran.err == "cleared\n"


def test_quit_ends_and_the_rest_is_not_read(chat, llm):
    assert chat(FIRST, "/quit", SECOND).out == lines(*answers(llm, FIRST))


def test_a_file_goes_with_the_next_message_only(chat, llm, tmp_path):
    path = tmp_path / "my doc.txt"
    path.write_text(SAMPLE.document + "\n", encoding="utf-8")
    whole = f"{SAMPLE.document}\n\n{SAMPLE.question}"
    ran = chat(f"/file {path}", SAMPLE.question, SECOND)
    assert (ran.status, ran.out) == (0, lines(*answers(llm, whole, SECOND)))
    assert ran.err == f"attached {path}: {len(SAMPLE.document.split())} tokens that go with the next message\n"
    assert chat(SAMPLE.question, flags=("--file", path)).out == lines(*answers(llm, whole))
    # An empty line sends it alone.
    assert chat(f"/file {path}", "").out == lines(*answers(llm, SAMPLE.document))


def test_policy_and_budget_change_in_between(chat, llm):
    ran = chat("/policy", "/policy full", FIRST, "/policy snapkv(kernel=3)", "/budget 50%", "/budget 2", SECOND)
    assert ran.status == 0
    assert ran.err.splitlines() == [
        "policy maskkv, budget 4",
        "policy full, no eviction",
        "policy snapkv(kernel=3), budget 4",
        "policy snapkv(kernel=3), budget 50%",
        "policy snapkv(kernel=3), budget 2",
    ]
    first = llm.chat([{"role": "user", "content": FIRST}], gen_length=8, policy="full").text
    turns = [("user", FIRST), ("assistant", first), ("user", SECOND)]
    policy = mixing.resolve("snapkv(kernel=3)")
    second = llm.chat([{"role": role, "content": said} for role, said in turns], gen_length=8, policy=policy, budget=2)
    assert ran.out == lines(first, second.text)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("anna holds a platypus .", "words that the model does not know: 'platypus'"),
        ("/frobnicate", "unknown command '/frobnicate': expected one of /file, /policy"),
        ("/file", "there is no file: expected /file PATH"),
        ("/file -", "there is no file: expected /file PATH"),
        ("/file nowhere.txt", "there is no file nowhere.txt"),
        ("/file ~nobody-at-all/x", "there is no such home folder"),
        ("/file {tmp}", "is a folder"),
        ("/file {tmp}/latin.txt", "is not UTF-8 text"),
        ("/file {tmp}/empty.txt", "is empty"),
        ("/file {tmp}/unknown.txt", "does not know: 'platypus'"),
        ("/policy nope", "unknown policy 'nope'"),
        ("/policy os:system", "a policy of your own is given when the chat starts, by --policy"),
        ("/policy maskkv(boundary_layers=x)", "expected a whole number"),
        ("/budget 0", "budget 0: expected at least 1 pair"),
        ("/budget many", "budget 'many': expected pairs, as in 256, or a part of the prompt, as in 5%"),
        ("anna \udcff", "line 1 of standard input is not UTF-8 text"),
    ],
)
def test_bad_input_gets_one_line_and_the_chat_goes_on(chat, llm, tmp_path, line, says):
    (tmp_path / "latin.txt").write_bytes(b"f\xfcr")
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "unknown.txt").write_text("a platypus", encoding="utf-8")
    ran = chat(line.format(tmp=tmp_path), FIRST)
    assert ran.out == lines(*answers(llm, FIRST))
    assert ran.err.startswith("maskkv: error: ")
    assert ran.err.count("\n") == 1
    assert says in ran.err
    # Whoever pipes should notice.
    assert ran.status == 2


def test_too_little_memory_for_one_message_ends_nothing(chat, monkeypatch):
    monkeypatch.setattr("maskkv.memory.available", lambda device: 1)
    ran = chat(FIRST, FIRST)
    assert (ran.status, ran.out) == (2, "")
    assert [each.startswith("maskkv: error: a prompt of ") for each in ran.err.splitlines()] == [True, True]


def test_a_bug_is_not_taken_for_bad_input(chat, monkeypatch):
    def stream_ids(*args, **options):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(maskkv.LanguageModel, "stream_ids", stream_ids)
    with pytest.raises(RuntimeError, match="no such luck"):
        chat(FIRST)


def test_debug_shows_where_an_error_came_from(chat):
    ran = chat("/budget 0", flags=("--debug",))
    assert ran.err.startswith("Traceback")
    assert ran.err.splitlines()[-1].startswith("maskkv: error: budget 0")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--policy", "nope"), "unknown policy 'nope'"),
        (("--budget", 0), "budget 0"),
        (("--gen-length", 9), "8 or 16 would fit, not 9"),
        (("--file", "nowhere.txt"), "there is no file nowhere.txt"),
    ],
)
def test_a_chat_that_cannot_begin_is_refused(refused, tiny, flags, says):
    assert says in refused("chat", "--model", tiny, *flags)


def test_a_checkpoint_without_a_chat_template_is_refused(refused, tmp_path):
    from tests.cli.tiny import save_tiny

    save_tiny(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert "no chat template: `maskkv generate`" in refused("chat", "--model", tmp_path)


@dataclass(frozen=True)
class Seen:
    """As much of a step as is drawn."""

    index: int
    guesses: dict[int, int]
    positions: tuple[int, ...]

    @property
    def tokens(self):
        return tuple(self.guesses[position] for position in self.positions)

    def proposals(self):
        return [(position, token, 0.5) for position, token in self.guesses.items()]


def test_the_canvas_shows_masks_guesses_and_what_is_committed(llm):
    anna, holds, likes, one = llm.text.encode("anna holds likes 1")
    shown = Condensing(llm.text, 6)
    assert drawn(shown) == [("░░░░░░", "dim")]
    shown.step(Seen(0, {0: anna, 1: likes, 2: one}, (0,)))
    assert drawn(shown) == [("anna", ""), ("likes 1", "dim italic"), ("░░░", "dim")]
    # The guess at 1 changed, and nothing is guessed at 2 any more.
    shown.step(Seen(1, {1: holds, 3: one}, (3,)))
    assert drawn(shown) == [("anna", ""), ("holds", "dim italic"), ("░", "dim"), ("1", ""), ("░░", "dim")]
    assert shown.canvas().plain == "anna holds ░ 1 ░░"
    assert "step 2, 2 of 6 tokens" in shown.status()


def drawn(shown):
    """Return what is drawn, cut where the style changes."""
    canvas = shown.canvas()
    ends = sorted({0, len(canvas), *(end for span in canvas.spans for end in (span.start, span.end))})
    parts = [(canvas[start:end], start) for start, end in pairwise(ends)]
    return [
        (part.plain.strip(), " ".join(str(span.style) for span in canvas.spans if span.start <= start < span.end))
        for part, start in parts
        if part.plain.strip()
    ]


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, tiny, *flags, **environment):
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*PROGRAM, "chat", "--model", tiny, *flags],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environment}, preexec_fn=heed_interrupts,
        )  # fmt: skip
        os.close(theirs)
        self.seen = b""

    def type(self, keys):
        os.write(self.ours, keys)

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)

    def until(self, text, seconds=300, again=lambda: None):
        """Read until a text shows up, and return what came before it and it; do something again while nothing comes."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.ours], [], [], 1.0)[0]:
                self.seen += os.read(self.ours, 4096)
            else:
                again()
        before, found, self.seen = self.seen.partition(text)
        return before + found

    def end(self):
        """Read the rest and return the exit status with it."""
        while True:
            try:
                self.seen += os.read(self.ours, 4096)
            except OSError:  # The other end is closed.
                break
        os.close(self.ours)
        return self.process.wait(timeout=300), self.seen


@pytest.fixture
def terminal(tiny):
    opened = []

    def terminal(*flags, **environment):
        opened.append(Terminal(tiny, *flags, **environment))
        return opened[-1]

    yield terminal
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def test_turns_of_a_block_causal_model_reuse_what_was_read(llm, monkeypatch):
    config = replace(tiny_model(0).config, family="sdar", causal_block=4)
    blocks = maskkv.LanguageModel(random_model(config), llm.text)
    generation = maskkv.Generation(gen_length=8)
    conversation = Conversation(blocks, generation, PolicyFlags(policy="maskkv", budget="2"))

    def ask(question):
        turns = [*conversation.turns, {"role": "user", "content": question}]
        alone = blocks.chat(turns, generation, policy="maskkv", budget=2)
        seen = finish(conversation.ask(question))
        assert (seen.tokens, seen.kept) == (alone.tokens, alone.kept)
        assert ("prompt tokens reused" in _status(seen)) == (seen.reused > 0)
        return seen

    first, second, third = ask(FIRST), ask(SECOND), ask(FIRST)
    assert (first.reused, second.reused) == (0, first.prompt_length // 4 * 4)
    assert f", {third.reused} prompt tokens reused, least sure" in _status(third)
    assert third.reused == second.prompt_length // 4 * 4
    # Where host memory is short nothing is held.
    monkeypatch.setattr("maskkv.cache.Prefix.fits", lambda *_: False)
    assert (ask(SECOND).reused, ask(SECOND).reused) == (0, 0)
    monkeypatch.undo()
    assert ask(SECOND).reused == 0
    assert ask(SECOND).reused > 0
    conversation.command("/clear")
    assert ask(SECOND).reused == 0


def test_on_a_terminal_the_answer_comes_with_what_was_kept(terminal, llm):
    shell = terminal("--gen-length", "8", "--budget", "4", NO_COLOR="1")
    assert b"policy maskkv, budget 4; /help lists the commands" in shell.until(b"> ")
    shell.type(FIRST.encode() + b"\n")
    turn = shell.until(b"> ")
    plain = ESCAPE.sub(b"", turn).replace(b"\r", b"").decode()
    assert f"\n{answers(llm, FIRST)[0]}\nmaskkv: 4.0 of " in plain
    assert "% of all), " in plain
    assert plain.splitlines()[-2].endswith(" tokens/s")
    assert re.search(r", least sure token \d+%, [\d.]+ tokens/s ", " ".join(plain.split()))
    # No colours, only dim and italic.
    assert not re.search(rb"\x1b\[[0-9;]*[34][0-9]", turn)
    assert turn.rfind(b"\x1b[?25h") > turn.rfind(b"\x1b[?25l") >= 0
    shell.type(b"/frobnicate\n")
    assert b"maskkv: error: unknown command" in shell.until(b"> ")
    shell.type(b"\x04")
    assert shell.end()[0] == 0


def test_what_is_pasted_is_one_message(terminal, llm):
    shell = terminal("--gen-length", "8", "--budget", "4")
    shell.until(b"> ")
    shell.type(f"\x1b[200~{FIRST}\n{SECOND}\x1b[201~\n".encode())
    shell.until(answers(llm, f"{FIRST}\n{SECOND}")[0].encode())
    shell.until(b"> ")
    shell.type(b"\x1b[200~/quit\nor not\x1b[201~\n")
    # A message: the model does not know such a word.
    shell.until(b"'/quit';")
    shell.until(b"> ")
    shell.type(b"\x04")
    assert shell.end()[0] == 0


def test_ctrl_c_keeps_the_beginning_of_the_answer(terminal, tmp_path):
    shell = terminal("--gen-length", "2048", "--no-stop-at-eos", "--budget", "4", "--seed", "3")
    shell.until(b"> ")
    shell.type(FIRST.encode() + b"\n")
    decided = 0
    while decided < 8:
        decided = int(re.search(rb"(\d+) of 2048 tokens$", shell.until(b" of 2048 tokens"))[1])
    shell.interrupt()
    stopped = shell.until(b"are kept as the answer").decode()
    count = int(re.search(r"stopped: the first ([\d,]+) tokens", stopped)[1].replace(",", ""))
    assert 8 <= count < 2048
    shell.until(b"> ")
    shell.type(f"/save {tmp_path / 'said.txt'}\n".encode())
    shell.until(b"saved 1 messages")
    asked, _, answer = (tmp_path / "said.txt").read_text().partition("\n\nassistant:\n")
    assert asked == f"user:\n{FIRST}"
    assert answer.strip() in ESCAPE.sub(b"", stopped.encode()).decode()
    shell.type(b"/quit\n")
    assert shell.end()[0] == 0


def test_a_stopped_answer_is_gone_on_from(llm):
    conversation = Conversation(llm, maskkv.Generation(gen_length=8), PolicyFlags(budget="4"))
    conversation.attached.append("anna holds 1 .")
    steps = conversation.ask(FIRST)
    next(steps)
    steps.close()
    said = conversation.keep(llm.text.encode(" ".join(FIRST.split()[:3])))
    assert said == " ".join(FIRST.split()[:3])
    assert [turn["content"] for turn in conversation.turns] == [f"anna holds 1 .\n\n{FIRST}", said]
    assert not conversation.attached
    next(conversation.ask(SECOND))
    assert conversation.keep([]) == ""
    assert conversation.keep([llm.model.config.eos_ids[0]]) == ""
    assert len(conversation.turns) == 2, "of nothing nothing is kept"


def test_what_is_certain_ends_at_the_first_mask(llm):
    response = Condensing(llm.text, 5)
    response.step(Seen(0, {0: 40, 1: 41, 2: 50, 3: 43}, (0, 1, 3)))
    assert response.certain() == [40, 41]
    response.step(Seen(1, {2: 42}, (2,)))
    assert response.certain() == [40, 41, 42, 43]


def test_save_writes_the_conversation_to_a_new_file(chat, llm, tmp_path):
    file = tmp_path / "said.txt"
    ran = chat(f"/save {file}", FIRST, f"/save {file}", "/save", f"/save {file}", f"/save {tmp_path / 'no' / 'x'}")
    assert ran.status == 2
    (answer,) = answers(llm, FIRST)
    assert ran.err.splitlines() == [
        "maskkv: error: there is nothing to save: nothing was said yet",
        f"saved 1 messages with their answers to {file}",
        "maskkv: error: expected /save FILE",
        f"maskkv: error: {file} exists: give a new file's name",
        f"maskkv: error: cannot write {tmp_path / 'no' / 'x'}: No such file or directory",
    ]
    assert file.read_text() == f"user:\n{FIRST}\n\nassistant:\n{answer}\n"


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on_as_if_nothing_was_said(terminal, llm):
    shell = terminal("--gen-length", "512", "--block-length", "512", "--no-stop-at-eos", "--budget", "4")
    shell.until(b"> ")
    shell.type(FIRST.encode() + b"\n")
    shell.until(b"step ")
    shell.interrupt()
    stopped = shell.until(b"> ")
    assert b"stopped" in stopped
    assert b"Traceback" not in stopped
    # The cursor comes back, and the canvas is erased.
    assert stopped.rfind(b"\x1b[?25h") > stopped.rfind(b"\x1b[?25l")
    assert b"\x1b[2K" in stopped
    # At the prompt, Ctrl-C drops the line.
    shell.type(b"half a li")
    shell.until(b"half a li")  # it is echoed once it has been read
    shell.interrupt()
    # A signal that comes just before `readline` waits for the next key is heard of with that key only.
    shell.until(b"> ", again=shell.interrupt)
    shell.type(b"/quit\n")
    status, rest = shell.end()
    assert status == 0
    assert b"error" not in rest


def test_ctrl_c_ends_a_chat_without_a_terminal(tiny):
    process = subprocess.Popen(
        [*PROGRAM, "chat", "--model", tiny, "--gen-length", "8"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
    )  # fmt: skip
    process.stdin.write(FIRST.encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, b"")


def test_nothing_but_answers_in_a_pipe_whatever_the_environment(tiny, llm):
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(
        [*PROGRAM, "chat", "--model", tiny, "--gen-length", "8", "--budget", "4"],
        input=lines(FIRST, SECOND).encode(), capture_output=True, check=True, env=environment, timeout=300,
    )  # fmt: skip
    assert (done.stdout.decode(), done.stderr) == (lines(*answers(llm, FIRST, SECOND)), b"")
