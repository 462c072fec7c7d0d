"""The local Bedrock as a whole: settings in, an endpoint out."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast, get_args

from bedrock_local.answers.base import AnswerEngine
from bedrock_local.caching import PromptCache, Visible
from bedrock_local.clock import Clock, SystemClock
from bedrock_local.control import ControlPlane
from bedrock_local.converse import Converser, PointsUnderRouter
from bedrock_local.faults import Fault, FaultQueue
from bedrock_local.models import ModelBook
from bedrock_local.pace import Pace
from bedrock_local.recording import Request, RequestLog
from bedrock_local.routers import RouterBook
from bedrock_local.routing import Chooser, Routing
from bedrock_local.server import HttpServer
from bedrock_local.service import Service
from bedrock_local.tokens import TokenCounter, TokenMode
from bedrock_local.untyped import boto3_session, botocore_config
from bedrock_routing.catalog import ModelFacts

__all__ = ["LocalBedrock"]


class LocalBedrock:
    """Serve both planes of a simulated Bedrock on one loopback port, for the length of a `with` block.

    `answers` is an engine or the spec of one (`extractive`); `routing` says how a router chooses;
    `points_under_router`, `visible`, `lookback` and `capped` settle what AWS does not document or where
    measurements differ; `revive` names retired models that shall answer; `extra_models` describes models
    that the catalog does not know. Nothing it says about time or answers is Bedrock's: answers come from
    a local engine, latency from `pace` and `latency`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        region: str = "us-east-1",
        account: str = "123412341234",
        answers: str | AnswerEngine = "extractive",
        routing: Routing = "difficulty",
        points_under_router: PointsUnderRouter = "pass",
        clock: Clock | None = None,
        pace: Pace | None = None,
        latency: float = 0.0,
        tokens: TokenMode = "estimated",
        extra_models: Iterable[ModelFacts] = (),
        revive: Iterable[str] = (),
        visible: Visible = "first-event",
        lookback: int | None = None,
        capped: bool = False,
        keep_requests: int = 2_000,
    ) -> None:
        self.region = region
        self.account = account
        _check("routing", routing, get_args(Literal["difficulty", "alternate"]))
        _check("points_under_router", points_under_router, get_args(PointsUnderRouter))
        timer = clock or SystemClock()
        speed = pace or Pace()
        self._models = ModelBook(region=region, account=account, extra=extra_models, revived=revive)
        self._routers = RouterBook(region=region, account=account, models=self._models)
        self._cache = PromptCache(timer, visible=visible, lookback=lookback, capped=capped)
        self._faults = FaultQueue()
        self._log = RequestLog(keep_requests)
        runtime = Converser(
            scope=f"{account}/{region}",
            models=self._models,
            routers=self._routers,
            chooser=Chooser(routing),
            cache=self._cache,
            counter=TokenCounter(tokens),
            engine=_engine(answers),
            clock=timer,
            pace=speed,
            latency=latency,
            points_under_router=points_under_router,
        )
        service = Service(
            runtime=runtime,
            control=ControlPlane(region=region, routers=self._routers, models=self._models),
            faults=self._faults,
            log=self._log,
            clock=timer,
            pace=speed,
        )
        self._server = HttpServer((host, port), service)
        self._host = host
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        """Return the URL of both planes, as `AWS_ENDPOINT_URL_BEDROCK` and `..._BEDROCK_RUNTIME` take it."""
        return f"http://{self._host}:{self._server.server_address[1]}"

    @property
    def requests(self) -> list[Request]:
        """Return the latest calls, in the order in which they were answered."""
        return self._log.snapshot()

    @property
    def connections(self) -> int:
        """Return how many connections clients hold open; a dead one counts until the next write to it."""
        return self._server.connections

    def start(self) -> Self:
        """Start serving; the `with` statement does this."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.05,), name="bedrock-local", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and close every connection; the end of the `with` block does this."""
        if self._thread is None:
            self._server.server_close()
            return
        self._server.stop()
        self._thread.join(timeout=5)
        self._thread = None

    def client(
        self, service: Literal["bedrock-runtime", "bedrock"] = "bedrock-runtime", **settings: Any
    ) -> Any:
        """Return an unmodified boto3 client of this server, with made-up credentials.

        SigV4 is forced: with `AWS_BEARER_TOKEN_BEDROCK` set, botocore would refuse a plain http endpoint.
        `settings` are those of `botocore.config.Config`.
        """
        if self._thread is None:
            raise RuntimeError(
                "the local Bedrock is not running: use it in a with statement, or call start()"
            )
        session = boto3_session.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - made up
            region_name=self.region,
        )
        # No proxy of the environment stands between two ends of one machine.
        config = botocore_config.Config(**{"signature_version": "v4", "proxies": {}, **settings})
        return session.client(service, endpoint_url=self.endpoint_url, config=config)

    def fail(self, fault: Fault, times: int = 1, operation: str | None = None) -> None:
        """Let the next `times` calls suffer a fault: of one operation (botocore's name) or of any."""
        self._faults.add(fault, times, operation)

    def create_router(
        self,
        name: str,
        models: Sequence[str],
        fallback: str | None = None,
        threshold: float = 0.0,
        relaxed: bool = True,
    ) -> str:
        """Make a router and return its ARN; relaxed, it may have models between which AWS does not route.

        A plain model id stands for its cross-Region inference profile; the fallback is the first model
        unless given.
        """
        arns = [self._models.profile_arn(each) for each in models]
        for each in arns:
            self._models.target(self._models.read(each))
        request = {
            "promptRouterName": name,
            "models": [{"modelArn": each} for each in arns],
            "fallbackModel": {"modelArn": self._models.profile_arn(fallback) if fallback else arns[0]},
            "routingCriteria": {"responseQualityDifference": threshold},
        }
        return self._routers.create(request, relaxed=relaxed)

    def router_arn(self, short: str) -> str:
        """Return a router's ARN by its short form (`amazon.nova:1`) or its name."""
        return self._routers.arn(short)

    def create_application_profile(self, model_id: str, name: str | None = None) -> str:
        """Make an application inference profile of a model and return its ARN."""
        return self._models.add_profile(model_id, name)

    def clear_caches(self) -> None:
        """Make every prompt cache cold."""
        self._cache.clear()

    def clear(self) -> None:
        """Forget requests, queued faults and caches; routers and profiles stay."""
        self._log.clear()
        self._faults.clear()
        self._cache.clear()


def _check(name: str, value: object, words: Sequence[str]) -> None:
    if isinstance(value, str) and value not in words:
        raise ValueError(f"{name} is one of {', '.join(words)}, not {value!r}")


def _engine(answers: str | AnswerEngine) -> AnswerEngine:
    if not isinstance(answers, str):
        return answers
    package: Any = importlib.import_module("bedrock_local.answers")
    return cast("AnswerEngine", package.engine(answers))
