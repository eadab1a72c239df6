"""The program as a newcomer starts it: a process of its own, with pipes, terminals and interrupts."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

import maskkv
from maskkv.mini import sample

PROGRAM = [
    sys.executable,
    "-c",
    # However busy this machine is, nothing is told of what takes long.
    "import sys; from maskkv.cli import main, terminal; terminal.PATIENCE = 1e6; sys.exit(main())",
]
COMMANDS = [
    *(
        "generate",
        "chat",
        "demo",
        "sample",
        "policies",
        "calibrate",
        "eval",
        "serve",
        "bench",
        "plan",
        "plot",
        "inspect",
        "doctor",
    ),
]
LONG = sample("multi-key", 200, 1).content


def start(*args, **options):
    # A runner in the background ignores Ctrl-C and hands that down; a newcomer's shell does not.
    return subprocess.Popen([*PROGRAM, *args], stdin=subprocess.DEVNULL, preexec_fn=heed_interrupts, **options)


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_help_needs_neither_torch_nor_a_second(tmp_path):
    """All commands in one process, so that the start of Python is paid for once."""
    code = (
        "import sys\nfrom maskkv.cli import main\n"
        f"for command in {COMMANDS}:\n"
        "    assert main([command, '--help']) == 0\n"
        "assert main([]) == main(['--version']) == 0\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'safetensors', 'numpy', 'huggingface_hub', 'rich.console'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert all(f"Usage: maskkv {command} " in done.stdout for command in COMMANDS)


def test_a_command_imports_only_what_it_uses():
    """Torch's compiler alone takes a second and 80 MB. All in one process, where a command adds to what was there."""
    never = {"torch._dynamo", "torch._inductor", "sympy", "triton", "torchao", "datasets", "matplotlib", "fastapi"}
    prompt, few = "ernst holds what ?", ["--gen-length", "8", "--budget", "4"]
    commands = [
        (["sample", "single-key", "--length", "100"], never | {"torch", "numpy"}),
        (["policies"], never | {"transformers", "huggingface_hub", "tokenizers", "safetensors"}),
        (["plan", "--shape", "llada-8b"], never | {"transformers", "httpx"}),
        (["generate", "--raw", prompt, *few], never | {"transformers", "httpx"}),
        (["generate", prompt, *few], never),
    ]
    code = (
        "import sys\nfrom maskkv.cli import main\n"
        f"for command, unused in {commands}:\n"
        "    assert main(command) == 0\n"
        "    assert not unused & set(sys.modules), (command, unused & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_command_shows_help_and_names_every_command(run):
    ran = run()
    assert (ran.status, ran.err) == (0, "")
    assert re.findall(r"^  (\w+) ", ran.out.partition("Commands:")[2], re.MULTILINE) == COMMANDS
    assert "completion" not in ran.out


def test_version(run):
    assert run("--version").out == f"maskkv {maskkv.__version__}\n"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("generat",), "no such command 'generat'. Did you mean 'generate'?: see `maskkv --help`"),
        (("--frobnicate",), "no such option: --frobnicate"),
        (("sample", "--length", "long"), "see `maskkv sample --help`"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(refused, args, says):
    assert says in refused(*args)


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    process = start("sample", "multi-key", "--length", "1000", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert process.communicate(timeout=300)[1] == b""


def test_ctrl_c_ends_with_130_and_leaves_the_terminal_as_it_was(tiny):
    ours, theirs = pty.openpty()
    args = ("--model", tiny, "--gen-length", "4096", "--block-length", "4096", "--no-stop-at-eos")
    process = start("generate", LONG, *args, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 300
    while b"denoising" not in seen and time.monotonic() < deadline:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            seen += os.read(ours, 4096)
        except OSError:  # The other end is closed.
            break
    assert process.wait(timeout=300) == 130
    os.close(ours)
    assert b"/4096" in seen
    assert b"Traceback" not in seen
    # The cursor comes back, and the last line is erased.
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") >= 0
    assert seen.rfind(b"\x1b[2K") > seen.rfind(b"denoising")


def test_no_bar_and_no_escapes_where_there_is_no_terminal(tiny):
    environment = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    process = start(
        "generate", LONG, "--model", tiny, "--gen-length", "8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert out.count(b"\n") == 1
    assert b"denoising" not in err
    assert b"\x1b" not in out + err
