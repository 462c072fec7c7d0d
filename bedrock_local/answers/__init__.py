"""Answer engines for the local Bedrock: by rules, by a small model, or by a model behind a URL."""

from bedrock_local.answers.base import (
    AnswerEngine,
    Prompt,
    PromptDocument,
    PromptTurn,
    Reply,
    ToolCall,
    ToolResult,
    ToolSpec,
)

__all__ = [
    "AnswerEngine",
    "Prompt",
    "PromptDocument",
    "PromptTurn",
    "Reply",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "engine",
]


def engine(spec: str) -> AnswerEngine:
    """Make the engine `spec` names: "extractive", "smollm2", or the base URL of an OpenAI-compatible server.

    A package that the engine needs and that is missing raises an ImportError which says how to install it.
    """
    if spec == "extractive":
        from bedrock_local.answers.extractive import ExtractiveEngine  # noqa: PLC0415

        return ExtractiveEngine()
    if spec == "smollm2":
        from bedrock_local.answers.smollm2 import SmolLM2Engine  # noqa: PLC0415

        return SmolLM2Engine()
    if spec.startswith(("http://", "https://")):
        from bedrock_local.answers.openai_url import OpenAIEngine  # noqa: PLC0415

        return OpenAIEngine(spec)
    raise ValueError(
        f'unknown answer engine {spec!r}: use "extractive", "smollm2", '
        'or an "http://..." or "https://..." base URL of an OpenAI-compatible server'
    )
