"""Set up every test: shapes checked at run time, one thread, no network, reproducible hypothesis."""

import os

# One thread per process, here and in the programs that tests start: the workers of pytest-xdist share the
# cores, and sums do not depend on how many cores there are. Read when torch is imported, hence first.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import jaxtyping
import pytest

# Wraps what is imported after it, so no import of maskkv may come before.
jaxtyping.install_import_hook("maskkv", "beartype.beartype")

# The first call of a property pays for torch's warm-up, and a busy machine for everything: no deadline.
hypothesis.settings.register_profile(
    "maskkv",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("maskkv")


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the library as its users do, whose arguments nobody checks at run time but the library itself."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
