"""What OpenAI's own client gets from two replicas on Ray: all that it gets from one server."""

from collections.abc import Iterator

import pytest

from tests.cluster.live import OnRay, on_ray
from tests.server.test_openai import *  # noqa: F403

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live() -> Iterator[OnRay]:
    with on_ray("--replicas", "2") as started:
        yield started
