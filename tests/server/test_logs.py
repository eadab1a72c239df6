"""Every line on standard error is one JSON object, whoever writes it, and quotes nobody."""

import json
import logging
import subprocess
import sys

import pytest

from maskkv.server.logs import JsonFormatter

PROGRAM = """
import logging, warnings
from maskkv.server import logs

library = logging.getLogger("library")
library.addHandler(logging.StreamHandler())
library.propagate = False
logs.configure()
logs.say("listening", url="http://127.0.0.1:1")
logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
logging.getLogger("uvicorn.access").info("%s asked", "SECRET")
logging.getLogger("library.part").warning("too long: %s", "SECRET")
warnings.warn("do not use SECRET", FutureWarning)
try:
    raise ValueError("SECRET")
except ValueError:
    library.exception("it failed")
"""


def test_libraries_and_warnings_write_as_the_server_does():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "SECRET" not in done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(each["logger"], each["level"]) for each in told] == [
        ("maskkv.server", "info"), ("uvicorn.error", "info"), ("library.part", "warning"), ("py.warnings", "warning"),
        ("library", "error"),
    ]  # fmt: skip
    assert [each["event"] for each in told[:3]] == ["listening", "Started server process [7]", "too long: %s"]
    assert told[3]["event"].startswith("<string>:")
    assert told[3]["event"].endswith(" FutureWarning")
    assert (told[4]["event"], told[4]["exception"]) == ("it failed", "ValueError")
    assert [set(each) for each in told] == [
        {"time", "level", "logger", "event", *more} for more in (["url"], [], [], [], ["exception", "at"])
    ]


@pytest.mark.parametrize(
    ("message", "given", "event"),
    [
        ("Cancel %s running task(s)", (3,), "Cancel 3 running task(s)"),
        ("%d of %.1f s", (1, 2.5), "1 of 2.5 s"),
        ("%s and %d", ("said", 1), "%s and %d"),
        ("100 % sure", (), "100 % sure"),
        ("first\nsecond", (), "first"),
        ("%(name)s", ({"name": "said"},), "%(name)s"),
    ],
)
def test_only_numbers_are_filled_in(message, given, event):
    record = logging.LogRecord("library", logging.INFO, "file.py", 1, message, given, None)
    assert json.loads(JsonFormatter().format(record))["event"] == event
