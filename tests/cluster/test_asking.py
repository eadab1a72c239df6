"""What becomes of a request in Ray Serve's hands, in maskkv's words."""

import asyncio
import warnings

import pytest

pytest.importorskip("ray")
with warnings.catch_warnings():  # Ray's own, while it is imported
    warnings.simplefilter("ignore")
    from ray.exceptions import ActorDiedError, ActorUnavailableError

    from maskkv.cluster import asking
    from maskkv.cluster.asking import RayReplicas
    from maskkv.cluster.calling import Asked, Head
    from maskkv.cluster.forwarding import NoReplica, ReplicaLost

pytestmark = pytest.mark.usefixtures("untyped")  # what stands for Ray is not of its types

ASKED = Asked("GET", "/", b"", (), b"")
HEAD = Head(200, ((b"a", b"b"),))


class Response:
    """Stand for Ray Serve's generator of pieces; None in the middle is the end that a replica tells."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.cancelled = 0

    async def __anext__(self):
        if not self.pieces:
            raise StopAsyncIteration
        piece = self.pieces.pop(0)
        if isinstance(piece, BaseException):
            raise piece
        if isinstance(piece, asyncio.Event):
            await piece.wait()
        return piece

    def cancel(self):
        self.cancelled += 1


class Handle:
    def __init__(self, response):
        self.response = response
        self.answer = self

    def options(self, *, stream):
        assert stream
        return self

    def remote(self, asked):
        assert asked is ASKED
        return self.response


def pieces_of(response, longest_s=60.0):
    async def collect():
        return [piece async for piece in RayReplicas(Handle(response), longest_s).ask(ASKED)]

    return asyncio.run(collect())


def test_a_complete_answer_names_its_replica():
    response = Response("r1", HEAD, b"1", b"2", None)
    assert pieces_of(response) == [Head(200, ((b"a", b"b"), (b"x-replica", b"r1"))), b"1", b"2"]
    assert response.cancelled == 1


@pytest.mark.parametrize("before", [[], ["r1"], ["r1", HEAD], ["r1", HEAD, b"1"]])
@pytest.mark.parametrize(
    "end", [[ActorDiedError()], [ActorUnavailableError("gone", b"0" * 16)], [asyncio.CancelledError()], []]
)
def test_an_answer_that_is_not_complete_is_lost(before, end):
    response = Response(*before, *end)
    with pytest.raises(ReplicaLost):
        pieces_of(response)
    assert response.cancelled == 1


def test_a_request_that_nobody_takes_has_no_replica(monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE_S", 0.01)
    response = Response(asyncio.Event())
    with pytest.raises(NoReplica):
        pieces_of(response)
    assert response.cancelled == 1


def test_a_replica_that_falls_silent_is_lost(monkeypatch):
    monkeypatch.setattr(asking, "PATIENCE_S", 0.01)
    with pytest.raises(ReplicaLost):
        pieces_of(Response("r1", HEAD, asyncio.Event()), longest_s=0.01)


def test_a_client_that_leaves_is_no_loss():
    response = Response("r1", HEAD, asyncio.Event())

    async def leave():
        async def collect():
            return [piece async for piece in RayReplicas(Handle(response), 60.0).ask(ASKED)]

        asking_now = asyncio.ensure_future(collect())
        while response.pieces:
            await asyncio.sleep(0)
        asking_now.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking_now

    asyncio.run(leave())
    assert response.cancelled == 1
