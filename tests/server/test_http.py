"""What the server says to bad requests, to strangers and to machines that watch it, byte by byte."""

import json
import socket
from contextlib import suppress

import httpx
import pytest

from tests.server.live import PATIENCE_S, SHORT, until

BODY = {"messages": [{"role": "user", "content": SHORT.content}], "budget": 32, "max_tokens": 8}
JSON = {"content-type": "application/json"}


def raw(live, content, headers=JSON):
    return live.http.post("/v1/chat/completions", content=content, headers=headers)


def refused(live, parts):
    """Send a body that is too large: the answer comes before all of it is read, and a reset may overtake it."""
    for _ in range(5):
        with suppress(httpx.ReadError, httpx.WriteError):
            return raw(live, iter(parts) if len(parts) > 1 else parts[0]).status_code
    raise AssertionError("no answer in five tries")


def error(response):
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(response.content) < 4096
    return body["error"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_value"),
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[]", "invalid_value"),
        (b"null", "invalid_value"),
        (b'{"messages": NaN}', "invalid_value"),
        (b"[" * 100_000, "unreadable"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "unreadable"),
        (b'{"max_tokens": ' + b"9" * 5000 + b"}", "unreadable"),
        (b'{"max_tokens": ' + b"9" * 4000 + b"}", "invalid_value"),
        (json.dumps({**BODY, "body": 1}).encode(), "unknown_parameter"),
        (b'{"' + b"x" * 100_000 + b'": 1, "messages": []}', None),
        (json.dumps({**BODY, "model": "\ud800" * 9999}).encode(), "model_not_found"),
        (json.dumps({**BODY, "policy": "p" * 9999}).encode(), "invalid_value"),
        (json.dumps({**BODY, "stop": "s" * 9999}).encode(), "invalid_value"),
        (json.dumps({**BODY, "messages": [{"role": "user", "content": "\ud800"}]}).encode(), None),
        (json.dumps({**BODY, "messages": [{"role": "user", "content": "zebra" * 9999}]}).encode(), "invalid_value"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_malformed_body_gets_one_short_error(live, content, code):
    response = raw(live, content)
    assert 400 <= response.status_code < 500
    assert code in (None, error(response)["code"])
    assert error(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_web_page_can_send_without_asking_is_refused(live, kind):
    response = raw(live, json.dumps(BODY).encode(), {"content-type": kind})
    assert (response.status_code, error(response)["code"]) == (415, "not_json")


def test_other_addresses_and_methods(live):
    assert (live.http.get("/v2").status_code, error(live.http.get("/v2"))["code"]) == (404, "not_found")
    wrong = live.http.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert error(wrong)["message"] == "this address expects POST"
    wrong = live.http.post("/health", json={})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def readable(live):
    """Return every address that GET answers."""
    paths = live.http.get("/openapi.json").json()["paths"]
    described = [path.replace("{name}", "maskkv-mini") for path, methods in paths.items() if "get" in methods]
    assert len(described) > 4
    return [*described, "/", "/openapi.json", "/static/page.js", "/static/lens/lens.js"]


def test_head_is_answered_where_get_is_and_nowhere_else(live):
    for path in readable(live):
        got, head = live.http.get(path), live.http.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert "content-length" in head.headers
        if path != "/metrics":
            assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    assert live.http.head("/nowhere").status_code == 404
    assert live.http.head("/v1/models/gpt-5").status_code == 404
    assert live.http.head("/v1/chat/completions").status_code == 405
    assert live.metric('maskkv_requests_total{route="/v1/chat/completions",status="405"}') > 0
    answer = sent(live, "HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.endswith("\r\n\r\n")


def sent(live, request):
    """Send what no client would, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", live.http.base_url.port), timeout=PATIENCE_S) as line:
        line.sendall(request.encode("latin-1"))
        return b"".join(iter(lambda: line.recv(4096), b"")).decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_slash_too_many_is_no_address_and_leads_nowhere(live, method):
    """A redirect would name this server as it is called behind a proxy."""
    others = ["/v1/chat/completions", "/v1/completions", "/api/lens", "/static", "/static/lens", "//example.org"]
    for path in [*others, "/static//example.org", *[each for each in readable(live) if each != "/"]]:
        answer = live.http.request(method, f"{live.url}{path}/", headers=JSON, content=b"{}")
        # The files of the page do not mind.
        assert answer.status_code in (404, 405) or (path.startswith("/static/") and answer.status_code == 200), path
        assert "location" not in answer.headers
    answer = live.http.request(method, "/static", headers=JSON, content=b"{}")
    assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(start):
    with start(max_body_bytes=1000) as live:
        assert raw(live, json.dumps({**BODY, "user": "x"}).encode()).status_code == 200
        said = raw(live, b" " * 1001)
        unsaid = raw(live, iter([b" " * 600, b" " * 600]))
        assert said.status_code == unsaid.status_code == 413
        assert (
            error(said)["message"] == error(unsaid)["message"] == "the body is too large: expected at most 1,000 bytes"
        )


def test_a_body_of_just_the_largest_size_is_taken_whether_or_not_it_says_so(start):
    with start(max_body_bytes=1000) as live:
        body = json.dumps(BODY).encode().ljust(1000)
        assert [raw(live, each).status_code for each in (body, iter([body[:600], body[600:]]))] == [200, 200]
        assert [refused(live, each) for each in ([body + b" "], [body, b" "])] == [413, 413]


def test_a_body_that_does_not_arrive_is_not_waited_for(start):
    with start(body_timeout=0.2) as live:
        with socket.create_connection(("127.0.0.1", live.http.base_url.port)) as line:
            head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            line.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            line.settimeout(PATIENCE_S)
            answer = line.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert live.http.get("/health").status_code == 200


def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(live):
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = sent(live, f"{head}Content-Length: 99999999\r\n\r\n")
    assert answer.startswith("HTTP/1.1 413 ")
    assert "\r\nconnection: close\r\n" in answer.lower()


def test_a_body_that_breaks_off_is_no_request(start):
    with start() as live:
        content = json.dumps(BODY)
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", live.http.base_url.port)) as line:
            line.sendall(f"{head}Content-Length: {len(content) + 9}\r\n\r\n{content}".encode())
        until(lambda: 'status="499"' in live.http.get("/metrics").text)
        assert live.metric('maskkv_requests_total{route="other",status="499"}') == 1
        assert "maskkv_jobs_total{" not in live.http.get("/metrics").text


def test_what_nobody_foresaw_is_an_error_like_others_and_quotes_nothing(start):
    with start() as live:
        check, live.runner.check_room = live.runner.check_room, lambda: [][len(SHORT.content)]
        failed = live.chat()
        live.runner.check_room = check
        assert (failed.status_code, error(failed)["code"]) == (500, "internal_error")
        assert error(failed)["message"] == "the server failed"
        assert failed.headers["x-request-id"]
        assert live.metric('maskkv_requests_total{route="/v1/chat/completions",status="500"}') == 1
        assert live.chat().status_code == 200


def test_without_its_model_the_server_is_not_healthy(start):
    with start() as live:
        live.runner.stop()
        assert (live.http.get("/health").status_code, live.http.head("/health").status_code) == (503, 503)
        assert error(live.http.get("/health"))["code"] == "not_running"
        assert (live.chat().status_code, error(live.chat())["code"]) == (503, "shutting_down")


def test_prompts_and_responses_have_a_longest_length(start):
    with start(max_prompt_length=99, max_gen_length=32) as live:
        long = live.chat()
        assert (long.status_code, error(long)["code"]) == (400, "context_length_exceeded")
        assert error(long)["param"] == "messages"
        response = live.chat("the", max_tokens=33)
        assert "would have 40 tokens: expected at most 32" in error(response)["message"]


def test_a_key_is_asked_for_except_by_who_only_looks_whether_the_server_lives(start):
    with start(api_key="first", api_keys="second, third") as live:
        for value in (None, "first", "Bearer", "Bearer fir", "Bearer first2", "Basic first", "Bearer \xff"):
            headers = {} if value is None else {"authorization": value.encode("latin-1")}
            for path in ("/v1/models", "/metrics", "/nowhere", "/statics", "/health/", "//"):
                refused = live.http.get(f"{live.url}{path}", headers=headers)
                assert (refused.status_code, error(refused)["code"]) == (401, "invalid_api_key")
                assert refused.headers["www-authenticate"] == "Bearer"
        assert raw(live, b"\xff" * 10).status_code == 401
        for key in ("first", "second", "third"):
            assert live.http.get("/v1/models", headers={"authorization": f"bearer {key}"}).status_code == 200
            assert live.openai(key).models.list().data
        assert live.http.get("/health").json() == {"status": "ok", "model": "maskkv-mini"}
        # With keys the server has any name; without it answers to its own only.
        assert live.http.get("/health", headers={"host": "example.org"}).status_code == 200


def test_without_keys_a_foreign_name_of_this_machine_is_refused(live):
    foreign = [
        "example.org", "example.org:8000", "localhost.example.org", "127.0.0.1.example.org", "",
        "[::1].example.org", "[::1].example.org:80", "[::1]example.org", "[::1", "[::1]:80.example.org", "[::1]]",
        "user@localhost", "user@example.org", "localhost@example.org", "localhost:80@example.org", "[::1]@example.org",
        "example.org@localhost:80", "localhost:example.org", "localhost, example.org", "localhost/", "localhost#",
        "::1",
    ]  # fmt: skip
    for host in foreign:
        assert live.http.get("/v1/models", headers={"host": host}).status_code in (400, 421), host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:80", "[::1]:9", "[::1]"):
        assert live.http.get("/v1/models", headers={"host": host}).status_code == 200, host


def test_an_address_of_this_machine_that_is_served_is_a_name_of_it(start):
    with start(host="127.8.9.1") as live:
        for host, status in (("127.8.9.1:5", 200), ("127.8.9.2", 421), ("x@127.8.9.1", 421)):
            assert live.http.get("/health", headers={"host": host}).status_code == status


def test_what_is_counted(start):
    with start() as live:
        answer = live.chat().json()
        live.chat(budget=0)
        live.http.get("/nowhere/at/all")
        live.http.get("/v1/models/maskkv-mini")
        live.http.get("/v1/models/another")
        for status in (200, 404):  # what clients write is no label
            assert live.metric(f'maskkv_requests_total{{route="/v1/models/{{name:path}}",status="{status}"}}') == 1
        route = "/v1/chat/completions"
        assert live.metric(f'maskkv_requests_total{{route="{route}",status="200"}}') == 1
        assert live.metric(f'maskkv_requests_total{{route="{route}",status="400"}}') == 1
        assert live.metric('maskkv_requests_total{route="other",status="404"}') == 1
        assert live.metric("maskkv_steps_total") == answer["maskkv"]["steps"]
        assert live.metric("maskkv_prompt_tokens_total") == answer["usage"]["prompt_tokens"]
        assert live.metric("maskkv_completion_tokens_total") == answer["usage"]["completion_tokens"]
        assert live.metric('maskkv_jobs_total{outcome="finished"}') == 1
        assert live.metric("maskkv_running") == live.metric("maskkv_waiting") == 0
        assert live.metric("process_resident_memory_bytes") > 0


def test_every_answer_has_a_number_and_is_not_kept(live):
    answers = [live.http.get("/health"), live.http.get("/nowhere")]
    assert len({each.headers["x-request-id"] for each in answers}) == 2
    assert all(each.headers["cache-control"] == "no-store" for each in answers)
    assert all(each.headers["x-content-type-options"] == "nosniff" for each in answers)
    assert all(each.headers["x-frame-options"] == "DENY" for each in answers)
    assert all(each.headers["referrer-policy"] == "no-referrer" for each in answers)
