import pytest

pytest.importorskip("langchain_aws")
pytest.importorskip("llama_index.core")

from bedrock_routing.documents import process_memory
from llama_index_bedrock_routing import callbacks


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give boto3 made-up credentials, and let no test find documents that another one retrieved."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    process_memory().clear()
    callbacks._newest.clear()
