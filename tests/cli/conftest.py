from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bedrock_local import LocalBedrock


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away every AWS setting of the machine that runs the tests."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBedrock]:
    """Let the environment point to a local Bedrock as it would point to AWS."""
    with LocalBedrock() as bedrock:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.endpoint_url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", bedrock.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield bedrock


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Write a small text of about 1,900 tokens with one fact in it."""
    filler = "\n\n".join(f"Paragraph {number} is about the weather on day {number}." for number in range(150))
    path = tmp_path / "notes.md"
    path.write_text(
        f"# Keys\n\nThe spare key hangs behind the blue door.\n\n# Weather\n\n{filler}\n", "utf-8"
    )
    return path
