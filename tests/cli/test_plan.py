"""`maskkv plan` tells what fits without loading anything."""

import json
import shutil

import pytest


def test_the_table_says_what_fits(run):
    ran = run("plan", "--shape", "llada-8b", "--budget", "256", "--memory", "24GB")
    assert ran.status == 0
    assert "peak                             17.7 GB" in ran.out
    assert "fits in 24.0 GB; the longest prompt that does: 2" in ran.out
    assert "8,015,581,184 parameters in bfloat16" in ran.err


def test_experts_count_in_all_and_for_a_token(run):
    ran = run("plan", "--shape", "llada-moe")
    assert "7,356,880,896 parameters (1,397,823,488 active for a token) in bfloat16" in ran.err
    found = json.loads(run("plan", "--json", "--shape", "llada-moe").out)
    assert (found["parameters"], found["active_parameters"]) == (7_356_880_896, 1_397_823_488)
    assert found["weight_bytes"] == 2 * 7_356_880_896
    assert json.loads(run("plan", "--json", "--shape", "mid").out)["active_parameters"] is None


def test_json_adds_up(run):
    args = ("plan", "--json", "--shape", "mid", "--prompt-length", "5000", "--batch-size", "3", "--memory", "1MiB")
    found = json.loads(run(*args).out)
    parts = ("weight_bytes", "held_bytes", "reading_bytes")
    assert found["peak_bytes"] == sum(found[part] for part in parts)
    assert found["weight_bytes"] == 2 * 25_174_528
    assert (found["fits"], found["longest_prompt"], found["memory_bytes"]) == (False, 0, 2**20)


def test_only_the_config_of_a_checkpoint_is_read(run, tiny, tmp_path):
    shutil.copy(f"{tiny}/config.json", tmp_path)
    found = json.loads(run("plan", "--json", "--model", tmp_path, "--dtype", "fp32").out)
    own = json.loads(run("plan", "--json", "--model", tiny, "--dtype", "float32").out)
    assert found["weight_bytes"] == own["weight_bytes"] == 4 * found["parameters"]
    assert found["dtype"] == own["dtype"] == "float32"
    assert "fits" not in found


def test_smaller_weights_are_counted(run):
    """Of LLaDA-8B a layer's seven matrices have 218,103,808 weights: widths of 4,096 and 12,288, whole groups."""
    layers, plain = 32 * 218_103_808, 2 * (8_015_581_184 - 32 * 218_103_808)
    outputs = 32 * (4 * 4096 + 2 * 12288 + 4096)
    for kind, size in (("int8", layers + 4 * outputs), ("int4", layers // 2 + layers // 64 * 4)):
        found = json.loads(run("plan", "--json", "--shape", "llada-8b", "--quantize", kind).out)
        assert (found["quantize"], found["weight_bytes"]) == (kind, plain + size)
        assert found["peak_bytes"] == sum(found[part] for part in ("weight_bytes", "held_bytes", "reading_bytes"))
    assert "parameters in bfloat16, the layers' in int4" in run("plan", "--quantize", "int4").err


def test_an_evicting_policy_holds_less_than_a_full_cache(run):
    held = [
        json.loads(run("plan", "--json", "--policy", policy, "--prompt-length", "8192").out)["held_bytes"]
        for policy in ("none", "maskkv", "full")
    ]
    assert held[0] == 0 < held[1] < held[2] / 10


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (
            ("--shape", "big"),
            "unknown shape 'big': expected one of llada-8b, dream-7b, qwen3-0.6b, llada-moe, llada2-mini, sdar-1.7b, "
            "sdar-8b, mid, mid-blocks, mini, tiny",
        ),
        (("--shape", "mid", "--model", "x"), "give one of them"),
        (("--memory", "24XB"), "expected a size like 24GB or 22GiB"),
        (("--memory", "0"), "expected at least one byte"),
        (("--prompt-length", "0"), "--prompt-length 0: expected a number from 1 to 16,777,216"),
        (("--prompt-length", "99999999999"), "expected a number from 1 to 16,777,216"),
        (("--batch-size", "0"), "--batch-size 0: expected a number from 1"),
        (("--dtype", "int3"), "--dtype int3: expected one of"),
        (("--kv-dtype", "int3"), "int3"),
        (("--quantize", "int3"), "quantize 'int3': expected one of int8, int4"),
        (("--model", "nowhere at all"), "nowhere at all"),
    ],
    ids=str,
)
def test_bad_input_gets_one_line(refused, args, says):
    assert says in refused("plan", *args)


def test_a_part_of_the_prompt_is_a_budget_at_every_length(run):
    args = ("plan", "--json", "--shape", "llada-8b", "--memory", "24GB")
    part = json.loads(run(*args, "--prompt-length", "30001", "--budget", "5%").out)
    assert part["budget"] == 1501  # 1500.05, rounded up
    assert part["held_bytes"] == json.loads(run(*args, "--prompt-length", "30001", "--budget", 1501).out)["held_bytes"]
    # What fits is worked out at each length's own budget: at the longest prompt it is a different number of pairs.
    longest = part["longest_prompt"]
    for length, fits in ((longest, True), (longest + 1, False)):
        assert json.loads(run(*args, "--prompt-length", length, "--budget", "5%").out)["fits"] is fits
    assert longest != json.loads(run(*args, "--prompt-length", "30001", "--budget", 1501).out)["longest_prompt"]


def test_a_policy_that_evicts_nothing_is_not_told_with_a_budget(run):
    for policy in ("none", "full"):
        ran = run("plan", "--policy", policy, "--budget", "3")
        assert ran.err.endswith(f"of response; {policy}\n")
        assert json.loads(run("plan", "--json", "--policy", policy, "--budget", "3").out)["budget"] is None


def test_pairs_that_wait_in_host_memory_are_told_beside_the_device_s(run):
    args = ("plan", "--shape", "llada-8b", "--prompt-length", "32768", "--batch-size", "2", "--memory", "24GB")
    drop, host = (
        json.loads(run(*args, "--json", "--policy", policy).out) for policy in ("maskkv", "maskkv(evicted=host)")
    )
    # Keys and values of 2 × 32768 pairs, in 32 layers and 32 heads, 128 numbers of 2 bytes each.
    assert (drop["host_bytes"], host["host_bytes"]) == (0, 2 * 2 * 32_768 * 32 * 32 * 128 * 2)
    assert host["held_bytes"] == drop["held_bytes"]
    assert (host["fits"], host["longest_prompt"] > 30_000) == (True, True)
    assert "beside it, in host memory        34.4 GB" in run(*args, "--policy", "maskkv(evicted=host)").out
    assert "host memory" not in run(*args, "--policy", "maskkv").out


def test_a_device_of_two_holds_half_of_what_is_split(run):
    """LLaDA-8B: embedding, head and norms are whole on both."""
    args = ("plan", "--json", "--shape", "llada-8b", "--budget", 64, "--prompt-length", 4096)
    one, two = (json.loads(run(*args, "--tensor-parallel", parts).out) for parts in (1, 2))
    beside = 2 * 126_464 * 4096 + (2 * 32 + 1) * 4096
    assert one["parameters"] == two["parameters"] == 8_015_581_184
    assert two["weight_bytes"] == 2 * (beside + (8_015_581_184 - beside) // 2)
    # In 32 layers: pairs of 64 kept and 64 live rows, of 16 heads; and two outputs of all live rows.
    assert two["held_bytes"] == 32 * (2 * 16 * 128 * (64 + 64) + 2 * 4096 * 64) * 2
    assert two["reading_bytes"] < one["reading_bytes"]


def test_plan_refuses_what_does_not_split(refused):
    told = refused("plan", "--shape", "llada-8b", "--tensor-parallel", 3)
    assert told == "tensor_parallel 3: this model's 32 KV heads do not split into 3 equal parts"
