"""A request is passed on, repeated where that is safe, and answered with an error where it is not."""

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from maskkv.cluster.calling import Asked, Head
from maskkv.cluster.forwarding import TRIES, Forwarder, NoReplica, ReplicaLost
from maskkv.cluster.front import Site
from maskkv.server.guard import digests
from maskkv.server.settings import ServerSettings

WHOLE = Head(200, ((b"content-type", b"application/json"), (b"x-request-id", b"r")))
STREAM = Head(200, ((b"content-type", b"text/event-stream; charset=utf-8"),))
LOST = ReplicaLost()


class Scripted:
    """Answer one request after the other as told; an exception in a script is what happens there."""

    def __init__(self, *scripts: list[Head | bytes | Exception | asyncio.Event]) -> None:
        self.scripts = list(scripts)
        self.asked: list[Asked] = []
        self.closed = 0

    async def ask(self, asked: Asked) -> AsyncGenerator[Head | bytes, None]:
        self.asked.append(asked)
        try:
            for each in self.scripts.pop(0):
                if isinstance(each, Exception):
                    raise each
                if isinstance(each, asyncio.Event):
                    await each.wait()
                else:
                    yield each
        finally:
            self.closed += 1


class Client:
    """Ask a site as a server would, and keep what it sends."""

    def __init__(self, replicas: Scripted, *, keys: tuple[bytes, ...] = (), **settings: object) -> None:
        self.forwarder = Forwarder(replicas)

        async def totals() -> bytes:
            return b"maskkv_replicas 2.0\n"

        self.site = Site(self.forwarder, totals, ServerSettings(**settings), digests(keys))
        self.sent: list[dict] = []

    async def ask(
        self, path: str = "/v1/completions", method: str = "POST", body: bytes = b"{}", **headers: str
    ) -> None:
        given = {"host": "localhost", "content_type": "application/json", **headers}
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"a=b",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict:
            return messages.pop()

        async def send(message: dict) -> None:
            self.sent.append(message)

        await self.site.app(scope, receive, send)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        assert [message["type"] for message in self.sent[1:]] == ["http.response.body"] * (len(self.sent) - 1)
        assert not self.sent[-1].get("more_body", False)
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        samples = [sample for family in self.site.families() for sample in family.samples if sample.name == name]
        return {tuple(sample.labels.values()): sample.value for sample in samples if sample.value}


def asked(replicas: Scripted, **given: object) -> Client:
    client = Client(replicas)
    asyncio.run(client.ask(**given))
    return client


def test_an_answer_is_passed_on_with_its_headers_and_without_what_only_the_front_may_know():
    replicas = Scripted([WHOLE, b'{"a":', b"1}"])
    client = Client(replicas, keys=(b"secret",), host="0.0.0.0")
    asyncio.run(client.ask(body=b'{"x": 1}', authorization="Bearer secret", host="example.org", x_own="y"))
    assert (client.status, client.body) == (200, b'{"a":1}')
    assert client.headers == {b"content-type": b"application/json"}
    (request,) = replicas.asked
    assert (request.method, request.path, request.query, request.body) == (
        "POST",
        "/v1/completions",
        b"a=b",
        b'{"x": 1}',
    )
    assert dict(request.headers) == {b"content-type": b"application/json", b"x-own": b"y"}
    assert dict(request.scope()["headers"])[b"host"] == b"localhost"
    assert client.counted("maskkv_requests_total") == {}  # the replica counted it


@pytest.mark.parametrize("path", ["/metrics", "/v1/completions"])
def test_a_websocket_is_refused_and_reaches_no_replica(path):
    client = Client(replicas := Scripted([WHOLE]), keys=(b"secret",), host="0.0.0.0")

    async def receive() -> dict:
        return {"type": "websocket.connect"}

    async def send(message: dict) -> None:
        client.sent.append(message)

    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": []}
    asyncio.run(client.site.app(scope, receive, send))
    assert client.sent == [{"type": "websocket.close", "code": 1000}]
    assert replicas.asked == []


def test_a_stream_is_passed_on_as_it_comes():
    more = asyncio.Event()
    client = Client(Scripted([STREAM, b"data: 1\n\n", more, b"data: 2\n\n"]))

    async def watch() -> None:
        answering = asyncio.ensure_future(client.ask())
        while len(client.sent) < 2:
            await asyncio.sleep(0)
        assert client.sent[1]["body"] == b"data: 1\n\n"
        more.set()
        await answering

    asyncio.run(watch())
    assert client.body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("before", [[LOST], [WHOLE, LOST], [WHOLE, b'{"a":', LOST], [STREAM, LOST]])
def test_a_request_whose_replica_died_before_anything_was_sent_is_repeated(before):
    replicas = Scripted(before, before, [WHOLE, b"{}"])
    client = asked(replicas)
    assert (client.status, client.body) == (200, b"{}")
    assert len(replicas.asked) == TRIES == replicas.closed
    assert len(set(map(id, replicas.asked))) == 1
    assert client.counted("maskkv_replica_losses_total") == {("repeated",): 2}


def test_it_is_not_repeated_for_ever():
    client = asked(Scripted(*[[LOST]] * TRIES))
    assert (client.status, client.code) == (503, "replica_lost")
    assert client.headers[b"retry-after"] == b"5"
    assert client.headers[b"x-content-type-options"] == b"nosniff"
    assert client.counted("maskkv_replica_losses_total") == {("repeated",): 2, ("refused",): 1}
    assert client.counted("maskkv_requests_total") == {("other", "503"): 1}


def test_a_stream_that_has_begun_ends_with_an_error_and_is_not_repeated():
    replicas = Scripted([STREAM, b'data: {"choices": []}\n\n', LOST])
    client = asked(replicas)
    assert client.status == 200
    first, error, done, rest = client.body.split(b"\n\n")
    assert (first, done, rest) == (b'data: {"choices": []}', b"data: [DONE]", b"")
    told = json.loads(error.removeprefix(b"data: "))["error"]
    assert (told["type"], told["code"]) == ("server_error", "replica_lost")
    assert "can be sent again" in told["message"]
    assert len(replicas.asked) == 1
    assert client.counted("maskkv_replica_losses_total") == {("broken_off",): 1}


def test_without_a_replica_the_client_is_told_to_come_again():
    client = asked(Scripted([NoReplica()]))
    assert (client.status, client.code, client.headers[b"retry-after"]) == (503, "no_replica", b"5")


def test_what_no_code_expects_is_status_500_and_quotes_nothing(caplog):
    client = asked(Scripted([ValueError("secret words")]))
    assert (client.status, client.code) == (500, "internal_error")
    assert b"secret" not in client.body
    assert "secret" not in caplog.text
    assert asked(Scripted([])).status == 500  # an answer without a head is none


def test_the_front_checks_key_type_and_size_before_it_asks_a_replica():
    replicas = Scripted()
    for given, status in (
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer secret", "content_type": "text/plain"}, 415),
        ({"authorization": "Bearer secret", "body": b"x" * 11}, 413),
    ):
        client = Client(replicas, keys=(b"secret",), max_body_bytes=10, host="0.0.0.0")
        asyncio.run(client.ask(**given))
        assert client.status == status
        assert client.counted("maskkv_requests_total") == {("other", str(status)): 1}
    assert asked(replicas, host="evil.example").status == 421
    assert replicas.asked == []


def test_metrics_are_those_of_all_and_other_methods_go_to_a_replica():
    client = asked(Scripted(), path="/metrics", method="GET")
    assert (client.status, client.body) == (200, b"maskkv_replicas 2.0\n")
    assert asked(Scripted([Head(405, ()), b"no"]), path="/metrics", method="DELETE").status == 405


def test_a_client_that_hangs_up_takes_its_request_with_it():
    replicas = Scripted([STREAM, b"data: 1\n\n", asyncio.Event()])
    client = Client(replicas)

    async def leave() -> None:
        answering = asyncio.ensure_future(client.ask())
        while len(client.sent) < 2:
            await asyncio.sleep(0)
        assert client.forwarder.open == 1
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert (replicas.closed, client.forwarder.open) == (1, 0)

    asyncio.run(leave())


def test_a_front_that_closes_lets_requests_finish_and_one_that_ends_does_not():
    more = asyncio.Event()
    replicas = Scripted([STREAM, b"data: 1\n\n", more], [STREAM, b"data: 2\n\n", asyncio.Event()], [asyncio.Event()])
    client = Client(replicas)

    async def end() -> None:
        first = asyncio.ensure_future(client.ask())
        while len(client.sent) < 2:
            await asyncio.sleep(0)
        others = []
        for _ in range(2):
            other = Client(replicas)
            other.site = Site(client.forwarder, other.site._totals, ServerSettings(), ())
            others.append((other, asyncio.ensure_future(other.ask())))
        while len(replicas.asked) < 3:
            await asyncio.sleep(0)
        client.forwarder.close()
        late = Client(replicas)
        late.site = Site(client.forwarder, late.site._totals, ServerSettings(), ())
        await late.ask()
        assert (late.status, late.code) == (503, "shutting_down")
        assert late.headers[b"connection"] == b"close"
        more.set()
        await first
        assert client.body == b"data: 1\n\n"
        client.forwarder.end()
        for _, answering in others:
            await answering
        streamed, whole = (other for other, _ in others)
        assert streamed.body.startswith(b'data: 2\n\ndata: {"error"')
        assert streamed.body.endswith(b"data: [DONE]\n\n")
        assert b"shutting_down" in streamed.body
        assert (whole.status, whole.code) == (503, "shutting_down")

    asyncio.run(end())
