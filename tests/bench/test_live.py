import json

import pytest

from maskkv.bench import live


def test_prints_the_time_of_each_kind_of_step(capsys: pytest.CaptureFixture[str]) -> None:
    live.main(["--shape", "tiny", "--sequences", "9", "--prompt-length", "40", "--gen-length", "8", "--steps", "6"])
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert record["sequences"] == 9
    for name in ("partial", "response"):
        assert 0 < record[f"{name}_least_cpu_ms"] <= record[f"{name}_mean_cpu_ms"]
