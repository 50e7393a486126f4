"""The numbers of routing: circuits, latency and failures of each model, probes, and the counters of tokens."""

from __future__ import annotations

from lightfast.core.metrics import Metrics
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.routing.candidates import Routing
from lightfast.gateway.routing.circuits import State


def measure_routing(metrics: Metrics, routing: Routing, prompts: PromptRoom) -> None:
    """Register every number; each is read when somebody scrapes."""
    model = ("model",)
    metrics.gauge(
        "gateway_circuit_open",
        "Circuits that are not closed, by model or provider: 1 open, 0.5 on trial.",
        lambda: {(name,): 1.0 if state is State.OPEN else 0.5 for name, state in routing.circuits.down().items()},
        ("name",),
    )
    metrics.counter(
        "gateway_circuit_opened",
        "How often a circuit opened, by model or provider.",
        lambda: {(name,): count for name, count in routing.circuits.opened().items()},
        ("name",),
    )
    metrics.gauge(
        "gateway_model_first_seconds",
        "How long the first part of an answer takes, as a moving average.",
        lambda: {(name,): seen.first for name, seen in routing.seen.items() if seen.works},
        model,
    )
    metrics.gauge(
        "gateway_model_seconds",
        "How long an answer takes, as a moving average.",
        lambda: {(name,): seen.total for name, seen in routing.seen.items() if seen.works},
        model,
    )
    metrics.gauge(
        "gateway_model_failing",
        "The part of attempts that fail by the service's fault, as a moving average.",
        lambda: {(name,): seen.failing for name, seen in routing.seen.items()},
        model,
    )
    metrics.counter("gateway_probes", "Providers that were asked whether they are back.", lambda: routing.health.probes)
    metrics.gauge(
        "gateway_token_correction",
        "What the estimate of tokens is multiplied by, as services have counted.",
        lambda: {(name,): prompts.counters.factor(name) for name in prompts.counters.models()},
        model,
    )
