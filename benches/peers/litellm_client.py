"""The Router of LiteLLM as a client of the bench: the same lines of JSON as every other client (src/protocol.rs)."""

import asyncio
import json
import os
import sys
import time
import urllib.request

setup = json.loads(sys.stdin.readline())
if setup["cores"]:
    os.sched_setaffinity(0, setup["cores"])
if setup["root"]:
    os.environ["SSL_CERT_FILE"] = setup["root"]
# Prices come with the package; without this they are downloaded at every start.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
# What is printed beside the answers goes elsewhere.
answers, sys.stdout = sys.stdout, sys.stderr

import litellm  # noqa: E402

litellm.suppress_debug_info = True
litellm.telemetry = False
if setup["root"]:
    litellm.ssl_verify = setup["root"]

MESSAGES = [{"role": "user", "content": "word " * 100}]
EVENTS = 101


def router(deployments):
    names = [f"sk-bench-{number}" for number in range(deployments)]
    return litellm.Router(
        model_list=[
            {
                "model_name": "gpt-5",
                "litellm_params": {"model": "openai/gpt-5", "api_base": setup["base_url"], "api_key": name},
            }
            for name in names
        ],
    )


async def call(target, stream):
    answer = await target.acompletion(model="gpt-5", messages=MESSAGES, stream=stream)
    if not stream:
        assert answer.choices[0].message.content
        return
    chunks = 0
    async for _ in answer:
        chunks += 1
    assert chunks >= EVENTS - 1, chunks


async def calls(job):
    state = {"calls": 0, "open": False, "stop": False, "warm": 0}
    micros = []
    think = job["think_ms"] / 1000

    async def caller(number):
        await call(POOL, job["stream"])
        state["warm"] += 1
        await asyncio.sleep(think * number / job["callers"])
        while not state["stop"]:
            start = time.perf_counter()
            await call(POOL, job["stream"])
            state["calls"] += 1
            if state["open"]:
                micros.append(round((time.perf_counter() - start) * 1e6))
            if think:
                await asyncio.sleep(think)

    callers = [asyncio.ensure_future(caller(number)) for number in range(job["callers"])]
    while state["warm"] < job["callers"]:
        if any(task.done() for task in callers):
            await asyncio.gather(*callers)
        await asyncio.sleep(0.005)
    start, cpu, before = time.perf_counter(), time.process_time(), state["calls"]
    state["open"] = True
    await asyncio.sleep(job["window_ms"] / 1000)
    state["open"] = False
    measured = {
        "calls": state["calls"] - before,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }
    state["stop"] = True
    await asyncio.gather(*callers)
    return measured | {"micros": micros}


async def failovers(job):
    """Each with a Router of its own, since the deployment that fails is left out for a while; the connection is there."""
    micros = []
    for _ in range(job["times"]):
        pool = router(2)
        await call(pool, False)
        await call(pool, False)
        control = setup["base_url"].removesuffix("/v1") + f"/fail/{job['status']}"
        urllib.request.urlopen(control).read()
        start = time.perf_counter()
        await call(pool, False)
        micros.append(round((time.perf_counter() - start) * 1e6))
    return NOTHING | {"micros": micros}


NOTHING = {"calls": 0, "seconds": 0.0, "cpu_seconds": 0.0, "micros": []}
POOL = router(setup["credentials"])
LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)
for line in sys.stdin:
    job = json.loads(line)
    if job["do"] == "calls":
        measured = LOOP.run_until_complete(calls(job))
    elif job["do"] == "first":
        LOOP.run_until_complete(call(POOL, False))
        measured = NOTHING
    elif job["do"] == "failovers":
        measured = LOOP.run_until_complete(failovers(job))
    else:
        raise SystemExit(f"no such job: {job['do']}")
    print(json.dumps(measured), file=answers, flush=True)
