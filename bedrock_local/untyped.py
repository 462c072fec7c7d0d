"""The parts of boto3 and botocore that are used here; neither ships types, so they are `Any`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["boto3_session", "botocore_config", "botocore_loaders", "botocore_model", "botocore_validate"]

boto3_session: Any = import_module("boto3.session")
botocore_config: Any = import_module("botocore.config")
botocore_loaders: Any = import_module("botocore.loaders")
botocore_model: Any = import_module("botocore.model")
botocore_validate: Any = import_module("botocore.validate")
