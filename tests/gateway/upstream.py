"""Answers as the vendors' pages say, for their own clients: OpenAI, Anthropic, Gemini. Its argument is the share of requests that fail.

https://platform.openai.com/docs/api-reference, https://platform.claude.com/docs/en/api, https://ai.google.dev/api
"""
import collections
import http.server
import itertools
import json
import random
import sys
import time

FAULTS = float(sys.argv[1])
NUMBERS = itertools.count()
FAILED = collections.Counter()
NOT_FOUND = {"type": "invalid_request_error", "code": "not_found"}
CHAT = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "stop_reason": "end_turn", "stop_sequence": None,
           "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 2}}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [], "output": [{"type": "message", "id": "m1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}]}]}
FILE = {"id": "file-1", "object": "file", "bytes": 2, "created_at": 1, "filename": "a", "purpose": "batch", "status": "processed"}
BATCH = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h",
         "status": "validating", "created_at": 1}
MODEL = {"id": "m", "object": "model", "created": 1, "owned_by": "x"}
MESSAGE_BATCH = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended", "expires_at": "2025-01-02T00:00:00Z",
                 "request_counts": {"processing": 0, "succeeded": 1, "errored": 0, "canceled": 0, "expired": 0},
                 "created_at": "2025-01-01T00:00:00Z", "ended_at": None, "archived_at": None, "cancel_initiated_at": None, "results_url": "RESULTS"}
CLAUDE = {"id": "c", "type": "model", "display_name": "c", "created_at": "2025-01-01T00:00:00Z"}
USAGE = {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3}
GEMINI_FILE = {"name": "files/1", "uri": "https://x/files/1", "mimeType": "text/plain", "state": "ACTIVE", "sizeBytes": "2"}
CACHE = {"name": "cachedContents/1", "model": "models/gm"}


def page(items):
    return {"object": "list", "data": items, "has_more": False, "first_id": "x", "last_id": "x"}


def event(data, name=None):
    head = f"event: {name}\n" if name else ""
    return head + "data: " + (data if isinstance(data, str) else json.dumps(data)) + "\n\n"


def chat(body):
    def choice(part, value, end):
        return {"index": 0, part: value, "finish_reason": end}

    tools = "tools" in body
    text = '{"n":7}' if "response_format" in body else "hi"
    value = {"role": "assistant", "content": None, "tool_calls": [TOOL]} if tools else {"role": "assistant", "content": text}
    end = "tool_calls" if tools else "stop"
    if not body.get("stream"):
        return dict(CHAT, choices=[choice("message", value, end)])
    if tools:
        value = dict(value, tool_calls=[dict(TOOL, index=0)])
    chunk = dict(CHAT, object="chat.completion.chunk", usage=None)
    last = dict(chunk, choices=[], usage=CHAT["usage"])
    pieces = [dict(chunk, choices=[choice("delta", value, None)]), dict(chunk, choices=[choice("delta", {}, end)]), last, "[DONE]"]
    return "".join(event(piece) for piece in pieces)


def messages(body):
    tools = "tools" in body
    block = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}} if tools else {"type": "text", "text": "hi"}
    end = "tool_use" if tools else "end_turn"
    if not body.get("stream"):
        return dict(MESSAGE, content=[block], stop_reason=end)
    start = dict(block, input={}) if tools else dict(block, text="")
    delta = {"type": "input_json_delta", "partial_json": '{"a":1}'} if tools else {"type": "text_delta", "text": "hi"}
    pieces = [("message_start", {"message": dict(MESSAGE, content=[], stop_reason=None)}), ("ping", {}),
              ("content_block_start", {"index": 0, "content_block": start}), ("content_block_delta", {"index": 0, "delta": delta}),
              ("content_block_stop", {"index": 0}),
              ("message_delta", {"delta": {"stop_reason": end, "stop_sequence": None}, "usage": {"output_tokens": 2}}), ("message_stop", {})]
    return "".join(event(dict(data, type=name), name) for name, data in pieces)


def responses(body):
    if not body.get("stream"):
        return RESPONSE
    pieces = [("response.created", {"response": dict(RESPONSE, status="in_progress", output=[])}),
              ("response.output_text.delta", {"item_id": "m1", "output_index": 0, "content_index": 0, "delta": "hi", "logprobs": []}),
              ("response.completed", {"response": RESPONSE})]
    return "".join(event(dict(data, type=name, sequence_number=n), name) for n, (name, data) in enumerate(pieces))


def generate(body):
    part = {"functionCall": {"name": "add", "args": {"a": 1}}} if "tools" in body else {"text": "hi"}
    if "responseMimeType" in body.get("generationConfig", {}):
        part = {"text": '{"n":7}'}
    content = {"role": "model", "parts": [part]}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": USAGE}


def answer(method, path, body, is_anthropic):
    """Status and body: JSON, a text of events, or bytes."""
    model = body.get("model") or path.rsplit("/", 1)[-1].split(":")[0]
    if model == "limited":
        return 429, {"error": {"message": "slow down", "type": "rate_limit_error", "code": 429, "status": "RESOURCE_EXHAUSTED"}}
    if model == "refused":
        return 400, {"error": {"message": "no", "type": "invalid_request_error", "code": 400, "status": "INVALID_ARGUMENT"}}
    if model == "slow":
        time.sleep(3)
    if path.startswith("/v1/messages/batches"):
        if path.endswith("/results"):
            return 200, b'{"custom_id":"1","result":{"type":"succeeded","message":%s}}\n' % json.dumps(MESSAGE).encode()
        return 200, page([MESSAGE_BATCH]) if method == "GET" and path.endswith("batches") else MESSAGE_BATCH
    if is_anthropic and path.startswith("/v1/files"):
        file = {"id": "file_1", "type": "file", "filename": "a", "mime_type": "text/plain", "size_bytes": 2, "created_at": "2025-01-01T00:00:00Z"}
        if method == "DELETE":
            return 200, {"id": "file_1", "type": "file_deleted"}
        return 200, page([file]) if method == "GET" and path == "/v1/files" else file
    if is_anthropic and path.startswith("/v1/models"):
        return 200, page([CLAUDE]) if path == "/v1/models" else CLAUDE
    one_of_all = {
        "/v1/files": FILE, "/v1/batches": BATCH, "/v1/models": MODEL,
    }
    for base, item in one_of_all.items():
        if path == base:
            return 200, page([item]) if method == "GET" else item
    simple = {
        "/v1/embeddings": {"object": "list", "model": "e", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                           "usage": {"prompt_tokens": 1, "total_tokens": 1}},
        "/v1/moderations": {"id": "mod", "model": "m", "results": []},
        "/v1/completions": {"id": "c", "object": "text_completion", "created": 1, "model": "m",
                            "choices": [{"index": 0, "text": "hi", "finish_reason": "stop", "logprobs": None}]},
        "/v1/images/generations": {"created": 1, "data": [{"b64_json": "AA=="}]},
        "/v1/images/edits": {"created": 1, "data": [{"b64_json": "AA=="}]},
        "/v1/audio/speech": b"RIFFxxxx", "/v1/audio/transcriptions": {"text": "abc"}, "/v1/audio/translations": {"text": "abc"},
        "/v1/files/file-1/content": b"line\n", "/v1/files/file-1": dict(FILE, deleted=True),
        "/v1/batches/batch_1": BATCH, "/v1/batches/batch_1/cancel": dict(BATCH, status="cancelling"), "/v1/models/m": MODEL,
        "/v1/responses/resp_1": RESPONSE, "/v1/responses/resp_1/cancel": RESPONSE,
        "/v1/responses/resp_1/input_items": page([]), "/v1/vector_stores": {"id": "vs_1", "object": "vector_store", "created_at": 1, "name": "x",
            "usage_bytes": 0, "status": "completed", "file_counts": {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}},
        "/v1/messages/count_tokens": {"input_tokens": 3},
        "/v1beta/models": {"models": [{"name": "models/gm"}]}, "/v1beta/models/gm": {"name": "models/gm"},
        "/v1beta/cachedContents": CACHE, "/v1beta/cachedContents/1": CACHE, "/v1beta/files/1": GEMINI_FILE,
    }
    if path in simple:
        return 200, simple[path]
    if path == "/v1/chat/completions":
        return 200, chat(body)
    if path == "/v1/messages":
        return 200, messages(body)
    if path == "/v1/responses":
        return 200, responses(body)
    if path.endswith(":generateContent"):
        return 200, generate(body)
    if path.endswith(":streamGenerateContent"):
        return 200, event(generate(body))
    if path.endswith(":countTokens"):
        return 200, {"totalTokens": 3}
    if "mbedContent" in path:
        return 200, {"embeddings": [{"values": [0.5]}], "embedding": {"values": [0.5]}}
    return 404, {"error": dict(NOT_FOUND, message=f"there is no {method} {path}")}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def handle_any(self):
        raw = self.body()
        path = self.path.split("?")[0]
        if "x-goog-api-key" in self.headers:
            # Its client takes the one version or the other.
            path = path.replace("/v1/", "/v1beta/")
        try:
            body = json.loads(raw)
        except ValueError:
            body = {}
        # A call that fails three times has ended: none does that here, however the calls come between each other.
        call = self.headers.get("x-call")
        if FAULTS and next(NUMBERS) % round(1 / FAULTS) == 0 and FAILED[call] < 2:
            FAILED[call] += 1
            status, said = random.choice([429, 500, 503]), {"error": {"message": "at times", "type": "server_error"}}
        else:
            status, said = answer(self.command, path, body if isinstance(body, dict) else {}, "anthropic-version" in self.headers)
        kind = {bytes: "application/octet-stream", str: "text/event-stream"}.get(type(said), "application/json")
        said = said if isinstance(said, bytes) else said.encode() if isinstance(said, str) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in [("content-type", kind), ("content-length", str(len(said))), ("x-request-id", "req_1"), ("request-id", "req_1")]:
            self.send_header(name, value)
        if status == 429:
            # Longer than the pool waits, or so short that it does.
            self.send_header("retry-after", "60" if not FAULTS else "1")
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = handle_any


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
