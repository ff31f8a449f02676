"""Prometheus metrics of one gateway. Labels hold routes, statuses and codes of our own, nothing of a caller's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """A registry of its own, so that several apps in one process (tests) do not collide."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        name = "medvlm_gateway_"
        self.requests = Counter(f"{name}requests", "Requests by route and status", ["route", "status"], registry=r)
        self.refusals = Counter(f"{name}refusals", "Refused or failed requests by error code", ["code"], registry=r)
        self.cancelled = Counter(f"{name}cancelled", "Requests whose client hung up", registry=r)
        self.seconds = Histogram(
            f"{name}request_seconds", "Request to last byte", ["route"], buckets=_LATENCY, registry=r
        )
        self.first_token = Histogram(
            f"{name}first_token_seconds", "Request to first token of a stream", buckets=_LATENCY, registry=r
        )
        self.tokens = Counter(f"{name}tokens", "Tokens as the engine counted them", ["kind"], registry=r)
        self.images = Counter(f"{name}images", "Images passed to the engine", ["cache"], registry=r)
        self.decode = Histogram(
            f"{name}decode_seconds",
            "Decode and draw one image, without waiting",
            buckets=_LATENCY,
            registry=r,
        )
        self.decode_wait = Histogram(
            f"{name}decode_wait_seconds", "Wait for a decode worker", buckets=_LATENCY, registry=r
        )
        self.in_flight = Gauge(f"{name}in_flight", "Requests being served", registry=r)
        self.engine_up = Gauge(f"{name}engine_up", "1 when the engine answered last", registry=r)
        self.upload_bytes = Gauge(f"{name}upload_bytes", "Bytes of uploaded files held", registry=r)

    def text(self) -> bytes:
        return generate_latest(self.registry)
