"""What OpenAI's own client gets: answers, streams, counts, errors."""

import inspect
import time

import openai
import pytest

from maskkv.mini import sample
from tests.server.live import MODEL, SHORT, events

TURN = [{"role": "user", "content": SHORT.content}]
OWN = {"budget": 32, "policy": "maskkv"}


@pytest.fixture
def client(live):
    with live.openai() as client:
        yield client


@pytest.fixture(scope="module")
def expected(llm):
    return llm.generate(SHORT.content, gen_length=16)


def test_a_chat_is_answered_as_the_library_does(client, llm, expected):
    answer = client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=16, extra_body=OWN)
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert abs(answer.created - time.time()) < 86_400  # seconds, not parts of them
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", expected.text)
    assert choice.finish_reason == "stop"
    said = len(llm.said(expected.tokens))
    assert answer.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": expected.prompt_length, "completion_tokens": said,
        "total_tokens": expected.prompt_length + said,
    }  # fmt: skip
    kept = sum(len(head) for layer in expected.kept for head in layer)
    extension = answer.maskkv
    assert {name: extension[name] for name in ("policy", "budget", "steps", "kept_pairs", "cache_bytes")} == {
        "policy": "maskkv", "budget": 32, "steps": expected.steps, "kept_pairs": kept,
        "cache_bytes": expected.cache_bytes,
    }  # fmt: skip


def test_a_stream_says_the_same_piece_by_piece(client, llm):
    long = sample("long-value", 100, 3)
    whole = llm.generate(long.content, gen_length=24, block_length=4)
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": long.content}], max_tokens=24, stream=True,
        stream_options={"include_usage": True}, extra_body={**OWN, "block_length": 4},
    )  # fmt: skip
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == whole.text
    assert len(pieces) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(llm.said(whole.tokens))
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("path", "asked"), [("chat/completions", {"messages": TURN}), ("completions", {"prompt": "the"})]
)
@pytest.mark.parametrize("shown", [True, False])
def test_every_event_of_a_counted_stream_has_its_usage_which_is_null_before_the_last(live, path, asked, counted, shown):
    body = {**asked, "max_tokens": 8, "stream": True, "stream_options": {"include_usage": counted}, "diffusing": shown}
    with live.http.stream("POST", f"/v1/{path}", json=body) as response:
        seen = list(events(response.iter_lines()))
    if counted:
        assert [event["usage"] is None for event in seen] == [True] * (len(seen) - 1) + [False]
        assert seen[-1]["choices"] == []
    else:
        assert not any("usage" in event for event in seen)
        assert seen[-1]["choices"]


def test_completions_take_text_and_token_ids_as_they_stand(client, llm):
    ids = llm.text.encode(SHORT.content)
    whole = llm.generate_ids(ids, gen_length=8)
    for prompt in (SHORT.content, ids, [ids], [SHORT.content]):
        answer = client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, extra_body=OWN)
        assert (answer.object, answer.choices[0].text) == ("text_completion", whole.text)
    chunks = client.completions.create(model=MODEL, prompt=ids, max_tokens=8, stream=True, extra_body=OWN)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-5'"):
        client.models.retrieve("gpt-5")


def test_the_text_is_cut_at_max_tokens_although_blocks_are_longer(client, expected):
    answer = client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=3, extra_body=OWN)
    assert answer.choices[0].message.content == " ".join(expected.text.split()[:3])
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)
    assert answer.maskkv["gen_length"] == 8


def test_the_text_ends_before_a_stop_string(client, expected):
    words = expected.text.split()
    answer = client.chat.completions.create(
        model=MODEL, messages=TURN, max_completion_tokens=16, stop=["zzz", words[2]], extra_body=OWN
    )
    assert answer.choices[0].message.content == " ".join(words[:2]) + " "
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("stop", 3)


def test_a_seed_repeats_what_was_drawn(client, llm):
    fields = {"model": MODEL, "messages": TURN, "max_tokens": 16, "temperature": 1.5, "extra_body": OWN}
    drawn = client.chat.completions.create(**fields)
    again = client.chat.completions.create(**fields, seed=drawn.maskkv["seed"])
    assert drawn.choices[0].message.content == again.choices[0].message.content
    expected = llm.generate(SHORT.content, gen_length=16, temperature=1.5, seed=drawn.maskkv["seed"])
    assert drawn.choices[0].message.content == expected.text
    nucleus = client.chat.completions.create(**fields, seed=4, top_p=0.5)
    expected = llm.generate(
        SHORT.content, gen_length=16, temperature=1.5, seed=4, top_p=0.5, alg="maskgit_plus"
    )  # fmt: skip
    assert nucleus.choices[0].message.content == expected.text


@pytest.mark.parametrize("own", [{}, {"alg": "entropy"}, {"remasking": "random", "seed": 3}])
def test_a_nucleus_of_nothing_is_the_likeliest_token_with_either_sampler(client, llm, own):
    fields = {"max_tokens": 16, "temperature": 1.5, "top_p": 0, "extra_body": {**OWN, **own}}
    answer = client.chat.completions.create(model=MODEL, messages=TURN, **fields)
    expected = llm.generate(SHORT.content, gen_length=16, temperature=0.0, **own)
    assert answer.choices[0].message.content == expected.text
    assert answer.maskkv["steps"] == expected.steps


@pytest.mark.parametrize(("seed", "stands_for"), [(-1, 2**63 - 1), (-(2**63), 0), (2**63 - 1, 2**63 - 1), (0, 0)])
def test_any_64_bit_seed_repeats_its_draws_and_the_number_that_is_reported_does_too(client, llm, seed, stands_for):
    fields = {"model": MODEL, "messages": TURN, "max_tokens": 16, "temperature": 1.5, "extra_body": OWN}
    answer = client.chat.completions.create(**fields, seed=seed)
    assert answer.maskkv["seed"] == stands_for
    expected = llm.generate(SHORT.content, gen_length=16, temperature=1.5, seed=stands_for)
    assert answer.choices[0].message.content == expected.text


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_of_more_bits_is_refused(client, seed):
    with pytest.raises(openai.BadRequestError, match="seed: input should be"):
        client.chat.completions.create(model=MODEL, messages=TURN, seed=seed)


@pytest.mark.parametrize(("policy", "budget"), [("full", None), ("none", None), ("maskkv", 8)])
def test_each_request_has_its_own_policy_and_budget(client, llm, policy, budget):
    own = {"policy": policy, "budget": budget, "steps": 8, "response_interval": 2}
    answer = client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=16, extra_body=own)
    expected = llm.generate(SHORT.content, gen_length=16, **own)
    assert answer.choices[0].message.content == expected.text
    assert (answer.maskkv["policy"], answer.maskkv["budget"]) == (policy, budget)
    assert answer.maskkv["cache_bytes"] == expected.cache_bytes
    if policy == "none":
        assert answer.maskkv["kept_pairs"] is None


def test_the_canvas_of_a_stream_fills_up_as_the_steps_of_the_library_do(live, llm):
    fields = {"gen_length": 16, "block_length": 8}
    steps = list(llm.stream(SHORT.content, **fields))
    body = {"messages": TURN, "budget": 32, "max_tokens": 16, "stream": True, "diffusing": True}
    with live.http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        first, *middle, last = events(response.iter_lines())
    start = first["maskkv"]
    assert (start["event"], start["gen_length"], start["block_length"]) == ("start", 16, 8)
    assert " ".join(start["prompt"]).startswith(SHORT.content[:40])
    assert last["maskkv"]["event"] == "finish"
    assert last["maskkv"]["steps"] == len(middle) == len(steps)
    committed: set[int] = set()
    for event, step in zip(middle, steps, strict=True):
        shown = event["maskkv"]
        assert (shown["event"], shown["step"], shown["masks_left"]) == ("step", step.index, step.masks_left)
        assert [each["token"] for each in shown["committed"]] == list(step.tokens)
        committed |= set(step.positions)
        states = [cell["state"] for cell in shown["canvas"]]
        assert {position for position, state in enumerate(states) if state == "committed"} == committed
        guessed = {position for position, state in enumerate(states) if state == "provisional"}
        assert guessed == {position for position, _, _ in step.proposals()} - committed
        assert all((cell["text"] is None) == (cell["state"] == "masked") for cell in shown["canvas"])
        assert ("kept" in shown) == (step.index == 0)
    kept = middle[0]["maskkv"]["kept"]
    assert len(kept["holders"]) == start["prompt_length"]
    assert sum(kept["holders"]) == last["maskkv"]["kept_pairs"]
    assert kept["pairs_per_head"] == last["maskkv"]["pairs_per_head"] == 32
    assert sum(kept["layers"]) / len(kept["layers"]) == pytest.approx(32)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in middle)
    assert text == llm.generate(SHORT.content, gen_length=16).text


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"n": 2}, "n", "n is not supported"),
        ({"logprobs": True}, "logprobs", "logprobs is not supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "tools is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "response_format is not supported"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio", "audio is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "presence_penalty is not supported"),
        ({"store": True}, "store", "store is not supported"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"max_tokens": 5000}, None, "expected at most 4,096"),
        ({"stream_options": {"include_usage": True}}, None, "needs stream"),
        ({"extra_body": {"policy": "os.system"}}, "policy", "unknown policy 'os.system': expected one of"),
        ({"extra_body": {"policy": "maskkv.policies.full:POLICY"}}, "policy", "unknown policy"),
        ({"extra_body": {"frobnicate": 1}}, "frobnicate", "unknown field 'frobnicate'"),
        ({"extra_body": {"steps": 3}}, None, "steps must be a multiple"),
        ({"extra_body": {"diffusing": True}}, None, "diffusing needs stream"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.tool_call_id", "supported"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role", "role function"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages.0.content", "image_url are not supported"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "the", "colour": 1}]}]},
         "messages.0.content.0.colour", "unknown field 'colour'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]},
         "messages.0.content.0.text", "messages.0.content.0.text: field required"),
        ({"messages": [{"role": "user", "content": ["the"]}]},
         "messages.0.content.0", "messages.0.content.0: expected an object"),
        ({"messages": [{"role": "user", "content": None}]},
         "messages.0.content", "messages.0.content: expected a text or a list"),
        ({"stop": 5}, "stop", "stop: expected a text or a list"),
        ({"stop": ["a", 5]}, "stop.1", "stop.1: input should be a valid string"),
        ({"extra_body": {"body": 1}}, "body", "unknown field 'body'"),
        ({"messages": [{"role": "user", "content": "the", "body": 1}]}, "messages.0.body", "unknown field 'body'"),
        ({"messages": [{"role": "assistant", "content": "the", "reasoning_content": "because"}]},
         "messages.0.reasoning_content", "reasoning_content is not supported"),
        ({"logprobs": 0}, "logprobs", "logprobs is not supported"),
        ({"n": True}, "n", "n is not supported"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, None, "max_tokens and max_completion_tokens differ"),
        ({"top_logprobs": 1}, "top_logprobs", "top_logprobs is not supported"),
        ({"extra_body": {"top_k": -2}}, "top_k", "greater than or equal to -1"),
        ({"top_p": -0.1}, "top_p", "greater than or equal to 0"),
        ({"messages": [{"role": "user", "content": "the zebra quacks"}]}, "messages", "'zebra', 'quacks'"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(client, fields, param, says):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": TURN, **fields})
    assert says in caught.value.message
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_several_prompts_and_echo_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="several prompts"):
        client.completions.create(model=MODEL, prompt=["the", "the"])
    with pytest.raises(openai.BadRequestError, match="echo is not supported"):
        client.completions.create(model=MODEL, prompt="the", echo=True)
    with pytest.raises(openai.BadRequestError, match="outside the vocabulary"):
        client.completions.create(model=MODEL, prompt=[1, 10**6])


def test_fields_that_ask_for_nothing_are_accepted(client, expected):
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "name": "ada", "content": [{"type": "text", "text": SHORT.content}]}],
        max_tokens=16, n=1, logprobs=False, presence_penalty=0, frequency_penalty=0, response_format={"type": "text"},
        user="ada", metadata={"a": "b"}, store=False, tools=[], top_p=1, top_logprobs=0,
        extra_body={**OWN, "top_k": 0},
    )  # fmt: skip
    assert answer.choices[0].message.content == expected.text
    part = {"type": "text", "text": SHORT.content, "cache_control": None, "prompt_cache_breakpoint": {"mode": "auto"}}
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": [part]}], max_tokens=16, extra_body={**OWN, "top_k": -1}
    )
    assert answer.choices[0].message.content == expected.text


@pytest.mark.parametrize(("kind", "prompt"), [("chat.completions", "messages"), ("completions", "prompt")])
def test_the_client_knows_no_field_that_the_server_does_not(live, client, kind, prompt):
    """A field of OpenAI's that is refused is called unsupported, never unknown: null is accepted for each."""
    create = {"chat.completions": client.chat.completions, "completions": client.completions}[kind].create
    own = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
    nothing = dict.fromkeys(set(inspect.signature(create).parameters) - own)
    assert len(nothing) > 15
    asked = {**nothing, prompt: TURN if kind == "chat.completions" else "the", "max_tokens": 8}
    assert live.http.post(f"/v1/{kind.replace('.', '/')}", json=asked).status_code == 200


def test_an_answer_can_be_sent_back_as_a_turn(client):
    answer = client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=8, extra_body=OWN)
    turns = [*TURN, answer.choices[0].message.model_dump(), *TURN]
    whole = client.chat.completions.create(model=MODEL, messages=turns, max_tokens=8, extra_body=OWN)
    # As other libraries and servers write it, with fields of their own that say nothing.
    empty = {"reasoning_content": None, "provider_specific_fields": None, "reasoning": "", "thinking_blocks": None}
    turns[1] |= {**empty, "name": None}
    same = client.chat.completions.create(model=MODEL, messages=turns, max_tokens=8, extra_body=OWN)
    assert same.choices[0].message.content == whole.choices[0].message.content
