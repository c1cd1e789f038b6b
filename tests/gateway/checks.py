"""The vendors' own clients, unchanged, at a gateway: `checks.py each URL` makes one call of each kind, `checks.py many URL` a thousand."""
import concurrent.futures
import sys

import anthropic
import openai
import pydantic
from google import genai
from google.genai import errors, types

MODE, BASE = sys.argv[1:]
ASKED = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]
CLAUDES_TOOLS = [{"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}]

oai = openai.OpenAI(base_url=BASE + "/v1", api_key="of-the-client", max_retries=0)
ant = anthropic.Anthropic(base_url=BASE, api_key="of-the-client", max_retries=0)
gem = genai.Client(api_key="of-the-client", http_options=types.HttpOptions(base_url=BASE))


class Number(pydantic.BaseModel):
    n: int


def fails(call, kind, *holds):
    """The call fails with this kind of error, of which all this holds."""
    try:
        call()
    except kind as error:
        return all(check(error) for check in holds)
    return False


def ask(model="m", **more):
    return oai.chat.completions.create(model=model, messages=ASKED, **more)


def say(model="c", **more):
    return ant.messages.create(model=model, max_tokens=10, messages=ASKED, **more)


def streamed(**more):
    with ant.messages.stream(model="c", max_tokens=10, messages=ASKED, **more) as stream:
        return stream.get_final_message()


def parsed():
    return oai.chat.completions.parse(model="m", messages=ASKED, response_format=Number).choices[0].message.parsed.n


def cancelled(stream):
    first = next(iter(stream))
    stream.close()
    return first


def spoken():
    with oai.audio.speech.with_streaming_response.create(model="s", voice="alloy", input="x") as answer:
        return b"".join(answer.iter_bytes())


def generate(model="gm", **more):
    return gem.models.generate_content(model=model, contents="hello", **more)


def add(a: int) -> int:
    """Adds."""
    return a


WAIT = lambda error: int(error.response.headers["retry-after"]) >= 1  # noqa: E731
ID = lambda error: error.request_id == "req_1"  # noqa: E731
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)

CHECKS = {
    "chat": lambda: ask().choices[0].message.content == "hi",
    "usage": lambda: ask().usage.total_tokens == 3,
    "request id": lambda: ask()._request_id == "req_1",
    "raw headers": lambda: oai.chat.completions.with_raw_response.create(model="m", messages=ASKED).headers["x-request-id"] == "req_1",
    "tools": lambda: ask(tools=TOOLS).choices[0].message.tool_calls[0].function.name == "add",
    "structured output": lambda: parsed() == 7,
    "stream": lambda: "".join(c.choices[0].delta.content or "" for c in ask(stream=True) if c.choices) == "hi",
    "usage of a stream": lambda: [c.usage for c in ask(stream=True, stream_options={"include_usage": True})][-1].total_tokens == 3,
    "tools of a stream": lambda: next(iter(ask(stream=True, tools=TOOLS))).choices[0].delta.tool_calls[0].id == "call_1",
    "cancelled stream": lambda: cancelled(ask(stream=True)) is not None,
    "completions": lambda: oai.completions.create(model="m", prompt="x").choices[0].text == "hi",
    "embeddings": lambda: oai.embeddings.create(model="e", input="x", encoding_format="float").data[0].embedding == [0.5],
    "embeddings of several": lambda: oai.embeddings.create(model="e", input=["x", "y"], encoding_format="float").usage.total_tokens == 1,
    "moderations": lambda: oai.moderations.create(input="x").id == "mod",
    "models": lambda: [m.id for m in oai.models.list()] == ["m"],
    "a model": lambda: oai.models.retrieve("m").owned_by == "x",
    "images": lambda: oai.images.generate(model="i", prompt="x").data[0].b64_json == "AA==",
    "edited images": lambda: oai.images.edit(model="i", prompt="x", image=("a.png", b"png")).data[0].b64_json == "AA==",
    "speech": lambda: oai.audio.speech.create(model="s", voice="alloy", input="x").read() == b"RIFFxxxx",
    "speech as it comes": lambda: spoken() == b"RIFFxxxx",
    "transcription": lambda: oai.audio.transcriptions.create(model="w", file=("a.wav", b"RIFF")).text == "abc",
    "translation": lambda: oai.audio.translations.create(model="w", file=("a.wav", b"RIFF")).text == "abc",
    "file": lambda: oai.files.create(file=("a.jsonl", b"{}"), purpose="batch").id == "file-1",
    "large file": lambda: oai.files.create(file=("a.jsonl", b"x" * (8 << 20)), purpose="batch").id == "file-1",
    "files": lambda: [f.id for f in oai.files.list()] == ["file-1"],
    "a file": lambda: oai.files.retrieve("file-1").filename == "a",
    "content": lambda: oai.files.content("file-1").read() == b"line\n",
    "deleted file": lambda: oai.files.delete("file-1").deleted,
    "batch": lambda: oai.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h").id == "batch_1",
    "batches": lambda: [b.id for b in oai.batches.list()] == ["batch_1"],
    "a batch": lambda: oai.batches.retrieve("batch_1").status == "validating",
    "cancelled batch": lambda: oai.batches.cancel("batch_1").status == "cancelling",
    "vector store": lambda: oai.vector_stores.create(name="x").id == "vs_1",
    "response": lambda: oai.responses.create(model="m", input="x").output_text == "hi",
    "streamed response": lambda: [e.type for e in oai.responses.create(model="m", input="x", stream=True)][-1] == "response.completed",
    "stored response": lambda: oai.responses.retrieve("resp_1").id == "resp_1",
    "its input": lambda: list(oai.responses.input_items.list("resp_1")) == [],
    "cancelled response": lambda: oai.responses.cancel("resp_1").id == "resp_1",
    "deleted response": lambda: oai.responses.delete("resp_1") is None,
    "not found": lambda: fails(lambda: oai.models.retrieve("nothing"), openai.NotFoundError, ID),
    "rate limit": lambda: fails(lambda: ask("limited"), openai.RateLimitError, WAIT),
    "bad request": lambda: fails(lambda: ask("refused"), openai.BadRequestError, lambda e: e.body["type"] == "invalid_request_error"),
    "timeout": lambda: fails(lambda: ask("slow", timeout=0.3), openai.APITimeoutError),
    "message": lambda: say().content[0].text == "hi",
    "usage of a message": lambda: say().usage.output_tokens == 2,
    "request id of a message": lambda: say()._request_id == "req_1",
    "tools of a message": lambda: say(tools=CLAUDES_TOOLS).content[0].input == {"a": 1},
    "streamed message": lambda: streamed().content[0].text == "hi",
    "streamed tools": lambda: streamed(tools=CLAUDES_TOOLS).content[0].input == {"a": 1},
    "events of a message": lambda: [e.type for e in say(stream=True)][-1] == "message_stop",
    "token count": lambda: ant.messages.count_tokens(model="c", messages=ASKED).input_tokens == 3,
    "claude's models": lambda: [m.id for m in ant.models.list()] == ["c"],
    "a claude": lambda: ant.models.retrieve("c").display_name == "c",
    "message batch": lambda: ant.messages.batches.create(requests=[]).id == "msgbatch_1",
    "message batches": lambda: [b.id for b in ant.messages.batches.list()] == ["msgbatch_1"],
    "a message batch": lambda: ant.messages.batches.retrieve("msgbatch_1").processing_status == "ended",
    "cancelled message batch": lambda: ant.messages.batches.cancel("msgbatch_1").id == "msgbatch_1",
    "claude's file": lambda: ant.beta.files.upload(file=("a.txt", b"ab", "text/plain")).id == "file_1",
    "claude's files": lambda: [f.id for f in ant.beta.files.list()] == ["file_1"],
    "deleted file of claude": lambda: ant.beta.files.delete("file_1").type == "file_deleted",
    "claude's not found": lambda: fails(lambda: ant.models.list(limit=1, extra_headers={}) and ant.get("/v1/nothing", cast_to=object), anthropic.NotFoundError, ID),
    "claude's rate limit": lambda: fails(lambda: say("limited"), anthropic.RateLimitError, WAIT),
    "claude's bad request": lambda: fails(lambda: say("refused"), anthropic.BadRequestError),
    "claude's timeout": lambda: fails(lambda: say("slow", timeout=0.3), anthropic.APITimeoutError),
    "content of gemini": lambda: generate().text == "hi",
    "gemini's usage": lambda: generate().usage_metadata.total_token_count == 3,
    "gemini's tools": lambda: generate(config=types.GenerateContentConfig(tools=[add], automatic_function_calling=BY_HAND)).function_calls[0].args == {"a": 1},
    "gemini's json": lambda: generate(config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=Number)).parsed.n == 7,
    "gemini's stream": lambda: "".join(c.text for c in gem.models.generate_content_stream(model="gm", contents="x")) == "hi",
    "gemini's embedding": lambda: gem.models.embed_content(model="ge", contents="x").embeddings[0].values == [0.5],
    "gemini's token count": lambda: gem.models.count_tokens(model="gm", contents="x").total_tokens == 3,
    "a gemini": lambda: gem.models.get(model="gm").name == "models/gm",
    "gemini's cache": lambda: gem.caches.get(name="cachedContents/1").name == "cachedContents/1",
    "gemini's file": lambda: gem.files.get(name="files/1").name == "files/1",
    "gemini's rate limit": lambda: fails(lambda: generate("limited"), errors.ClientError, lambda e: e.code == 429),
    "gemini's bad request": lambda: fails(lambda: generate("refused"), errors.ClientError, lambda e: e.code == 400),
}


def each():
    bad = []
    for name, check in CHECKS.items():
        try:
            if not check():
                bad.append(f"{name}: another answer")
        except Exception as error:  # noqa: BLE001
            bad.append(f"{name}: {error!r}")
    print(f"{len(CHECKS) - len(bad)} passed, {len(bad)} failed")
    return bad


def many():
    kinds = [
        lambda call: ask(extra_headers=call),
        lambda call: list(ask(stream=True, extra_headers=call)),
        lambda call: say(extra_headers=call),
        lambda call: streamed(extra_headers=call),
        lambda call: generate(config=types.GenerateContentConfig(http_options=types.HttpOptions(headers=call))),
    ]
    bad = []

    def one(number):
        try:
            kinds[number % len(kinds)]({"x-call": str(number)})
        except Exception as error:  # noqa: BLE001
            bad.append(repr(error))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(1000)))
    print(f"{1000 - len(bad)} passed, {len(bad)} failed")
    return bad


found = each() if MODE == "each" else many()
print("\n".join(found[:20]))
sys.exit(bool(found))
