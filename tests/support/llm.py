"""Model servers for tests: a fake that answers what it is told to and keeps what it was asked; a tiny real model."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import gguf
import numpy as np
import xllamacpp


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it came. Header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. `body`: bytes go out as they are, anything else as JSON; `cut`: fewer bytes than were promised."""

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float = 0.0
    cut: bool = False


@dataclass(slots=True)
class FakeModel:
    """Replies in the order given, the last one for ever; a function makes a reply of the request."""

    url: str
    replies: list[Reply | Callable[[Request], Reply]]
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        return reply if isinstance(reply, Reply) else reply(request)


@contextmanager
def fake_model(*replies: Reply | Callable[[Request], Reply]) -> Iterator[FakeModel]:
    """A server on a free port of this machine, on threads of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(model.answer(Request(self.path, headers, json.loads(body))))

        def _send(self, reply: Reply) -> None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            time.sleep(reply.wait_s)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (1_000 if reply.cut else 0)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or reply.cut

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test looks at `requests`."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that left in the middle is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    model = FakeModel(f"http://127.0.0.1:{server.server_address[1]}/v1", [*replies])
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield model
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(draft: object, *, finish: str = "stop", usage: object = None, **message: object) -> Reply:
    """A chat completion; a draft that is no text is sent as JSON."""
    content = draft if isinstance(draft, str) or draft is None else json.dumps(draft)
    return Reply(
        body={
            "id": "c1", "object": "chat.completion", "created": 1, "model": "tiny-1",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
            ],
            "usage": usage or {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400},
        }
    )  # fmt: skip


def write_tiny_model(path: Path, *, seed: int = 1) -> None:
    """A random Llama of 70 KB that speaks one ASCII character at a time.

    Its words are noise, its server is real. Characters are ordinary tokens, not bytes: half a UTF-8 sequence would be
    no JSON, and llama.cpp then answers 500.
    """
    width, heads, inner = 32, 4, 64
    characters = ["\n", "▁", *map(chr, range(33, 127))]
    tokens = ["<unk>", "<s>", "</s>", *characters]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.NORMAL] * len(characters)
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:")
    shapes: Sequence[tuple[str, tuple[int, ...]]] = (
        ("token_embd", (len(tokens), width)), ("output", (len(tokens), width)), ("output_norm", (width,)),
        ("blk.0.attn_norm", (width,)), ("blk.0.ffn_norm", (width,)),
        ("blk.0.attn_q", (width, width)), ("blk.0.attn_k", (width, width)),
        ("blk.0.attn_v", (width, width)), ("blk.0.attn_output", (width, width)),
        ("blk.0.ffn_gate", (inner, width)), ("blk.0.ffn_up", (inner, width)), ("blk.0.ffn_down", (width, inner)),
    )  # fmt: skip
    for name, shape in shapes:
        weights = np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) * 0.02
        writer.add_tensor(f"{name}.weight", weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def llama_server(path: Path) -> Iterator[str]:
    """llama.cpp's own HTTP server in this process, with the model of this file; its URL. Chance begins anew with each
    request, so the same prompt gets the same answer."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.port = 8192, 1, 0
    params.sampling.seed = 7
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # more would spin, waiting for each other
    params.verbosity = -1
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server
