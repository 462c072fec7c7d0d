"""Run `python -m bedrock_local [port]`; the command `bedrock-routing` offers more settings."""

from __future__ import annotations

import sys

from bedrock_local.serving import serve

if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8123)
