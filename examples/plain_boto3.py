"""The core without any framework: a boto3 client that routes, caches and accounts.

python examples/plain_boto3.py            # a local Bedrock answers, nothing to configure
"""

from __future__ import annotations

from pathlib import Path

from bedrock_local import LocalBedrock
from bedrock_routing import RoutedClient, collect, remember_documents

GUIDES = Path(__file__).parent / "documents" / "src"
QUESTIONS = ("Which service turns text into speech?", "What is a fallback model?")


def main() -> None:
    """Ask two questions over the same text; the second reads it from the cache."""
    guides = "\n\n".join(guide.read_text("utf-8") for guide in sorted(GUIDES.glob("*.md")))
    remember_documents([guides])
    with LocalBedrock() as bedrock, collect() as ledger:
        client = RoutedClient(bedrock.client("bedrock-runtime"), model="amazon.nova:1")
        for question in QUESTIONS:
            text = f"Answer from these guides:\n\n{guides}\n\nQuestion: {question}"
            reply = client.converse(messages=[{"role": "user", "content": [{"text": text}]}])
            receipt = reply["bedrock_routing"]
            print(question, receipt["model"], receipt["cache"]["read"], "tokens read from the cache")
    print(ledger)


if __name__ == "__main__":
    main()
