"""A local Bedrock on a loopback socket, for development and tests: unmodified boto3 talks to it."""

from bedrock_local.clock import ManualClock, SystemClock
from bedrock_local.faults import Fault
from bedrock_local.fixed import FixedAnswer
from bedrock_local.local import LocalBedrock
from bedrock_local.pace import Pace
from bedrock_local.recording import Request
from bedrock_local.serving import serve

__all__ = ["Fault", "FixedAnswer", "LocalBedrock", "ManualClock", "Pace", "Request", "SystemClock", "serve"]
