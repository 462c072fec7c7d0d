"""Run the command as `python -m bedrock_routing.cli`."""

import sys

from bedrock_routing.cli import main

sys.exit(main())
