"""langchain-tests' own suites for chat models, over HTTP, for every way to name who is asked.

Two of the integration tests are skipped because the service does not offer what they ask for: a JSON mode
without a schema, and audio, which no model that a router may invoke takes.
"""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_support import DOCUMENTS, LITE, MICRO, NOVA
from langchain_tests.conftest import base_vcr_config
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from vcr import VCR

from bedrock_local import LocalBedrock
from bedrock_routing import remember_documents
from langchain_bedrock_routing import ChatBedrockRouter

CUSTOM_ARN = "arn:aws:bedrock:us-east-1:123412341234:prompt-router/abcd1234efgh"
NOVA_ARN = "arn:aws:bedrock:us-east-1:123412341234:default-prompt-router/amazon.nova:1"
ROUTER_NAME = "Nova Prompt Router"
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class _Unit(ChatModelUnitTests):
    model_string: ClassVar[str]

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatBedrockRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.model_string}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        secrets = {
            "AWS_ACCESS_KEY_ID": "key_id",
            "AWS_SECRET_ACCESS_KEY": "secret_key",
            "AWS_SESSION_TOKEN": "token",
        }
        return secrets, self.chat_model_params, {name.lower(): value for name, value in secrets.items()}

    @pytest.mark.xfail(
        reason="langchain-core loads third-party classes only where allowed_objects names them, and the "
        "suite passes 'all'; test_langchain_settings.py makes the same round trip with the class named"
    )
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)


class TestUnitCustomRouter(_Unit):
    model_string = CUSTOM_ARN


class TestUnitDefaultRouter(_Unit):
    model_string = NOVA_ARN


class TestUnitRouterName(_Unit):
    model_string = ROUTER_NAME


class TestUnitModelId(_Unit):
    model_string = LITE


class _Integration(ChatModelIntegrationTests):
    asked: ClassVar[Callable[[LocalBedrock], str]]
    """Returns the model argument."""

    model_string: ClassVar[str]
    bedrock: ClassVar[LocalBedrock]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _serve(cls) -> Iterator[None]:
        with LocalBedrock() as local:
            cls.bedrock = local
            cls.model_string = cls.asked(local)
            yield

    @pytest.fixture(autouse=True)
    def _no_downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def get(url: str, **_: Any) -> httpx.Response:
            content = b"%PDF-1.4 one page" if url.endswith(".pdf") else IMAGE
            return httpx.Response(200, content=content, request=httpx.Request("GET", url))

        monkeypatch.setattr(httpx, "get", get)

    @property
    def enable_vcr_tests(self) -> bool:
        return True

    @pytest.fixture
    def vcr_config(self, _credentials: None, default_cassette_name: str, tmp_path: Path) -> dict[str, Any]:
        """Record what the local Bedrock says to the suite's question, for the test that plays it again."""
        config = {**base_vcr_config(), "cassette_library_dir": str(tmp_path)}
        model = ChatBedrockRouter(**self.standard_chat_model_params, **self.chat_model_params)
        with VCR().use_cassette(default_cassette_name, **config):
            list(model.stream("Write a story about a cat."))
        return {**config, "record_mode": "none"}

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatBedrockRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.model_string,
            "region_name": "us-east-1",
            "endpoint_url": self.bedrock.endpoint_url,
        }

    @property
    def model_override_value(self) -> str:
        return MICRO

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> Any:
        details = ["cache_read_input", "cache_creation_input"]
        return {"invoke": details, "stream": details}

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        self.bedrock.clear_caches()
        return self._ask_about_documents("How many pages are there?", stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        self._ask_about_documents("Who wrote them?", stream=stream)
        return self._ask_about_documents("When?", stream=stream)

    def _ask_about_documents(self, question: str, *, stream: bool) -> Any:
        model = ChatBedrockRouter(**self.chat_model_params)
        remember_documents(each.page_content for each in DOCUMENTS)
        prompt = [("system", "\n\n".join(each.page_content for each in DOCUMENTS)), ("human", question)]
        if not stream:
            return model.invoke(prompt)
        first, *rest = model.stream(prompt)
        return sum(rest, first)


class TestIntegrationCustomRouter(_Integration):
    asked = staticmethod(lambda local: local.create_router("team-router", NOVA))


class TestIntegrationDefaultRouter(_Integration):
    asked = staticmethod(lambda local: local.router_arn("amazon.nova:1"))


class TestIntegrationRouterName(_Integration):
    asked = staticmethod(lambda local: ROUTER_NAME)


class TestIntegrationModelId(_Integration):
    asked = staticmethod(lambda local: LITE)
