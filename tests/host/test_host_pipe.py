"""Everything that goes through the pipe comes out the same, and what is malformed is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.secret import Secret
from lightfast.host import pipe
from lightfast.sdk import (
    Artifact,
    Condition,
    EmbeddingRequest,
    Embeddings,
    Finish,
    GenerationRequest,
    Job,
    Limit,
    Limits,
    Message,
    Model,
    Preview,
    Price,
    Progress,
    ProviderError,
    Session,
    TextDelta,
    Usage,
)

text = st.text(max_size=30)
whole = st.integers(0, 1 << 50)
number = st.floats(allow_nan=False, allow_infinity=False)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, json_value, max_size=4)
settings = st.dictionaries(
    text, st.booleans() | st.integers(-(1 << 60), 1 << 60) | number | text | st.lists(text, max_size=3), max_size=4
)
limits = st.builds(
    Limits,
    st.lists(st.builds(Limit, text, number, number, number, number), max_size=3).map(tuple),
    st.none() | number,
    text,
)
usage = st.builds(
    Usage,
    **{
        name: whole if kind == "int" else number if kind == "float" else st.none() | number
        for name, kind in ((each, Usage.__dataclass_fields__[each].type) for each in Usage.__dataclass_fields__)
    },
)
steps = st.one_of(
    st.builds(Progress, number, text),
    st.builds(TextDelta, text),
    st.builds(Preview, text, st.binary(max_size=50)),
    st.builds(Artifact, text, st.binary(max_size=50), text, objects),
    usage,
    limits,
    st.builds(Job, text),
    st.builds(Finish, text),
)
sessions = st.builds(Session, text, text.map(Secret), text, objects)
requests = st.builds(
    GenerationRequest,
    model=text,
    output=text,
    prompt=text,
    settings=settings,
    seed=whole,
    sources=st.lists(st.binary(max_size=20), max_size=3).map(tuple),
    source_types=st.lists(text, max_size=3).map(tuple),
    system=text,
    messages=st.lists(st.builds(Message, text, text), max_size=3).map(tuple),
    prefix=text,
    schema=st.none() | objects,
    max_output_tokens=whole,
    session=sessions,
    job=text,
    idempotency_key=text,
    timeout=number,
)
models = st.builds(
    Model,
    name=text,
    outputs=st.lists(text, max_size=3).map(tuple),
    inputs=st.lists(text, max_size=3).map(tuple),
    description=text,
    settings=objects,
    procedural=st.booleans(),
    capabilities=st.lists(st.sampled_from(["stream", "jobs"]), max_size=2).map(tuple),
    context_tokens=whole,
    max_output_tokens=whole,
    tags=st.lists(text, max_size=3).map(tuple),
    prices=st.lists(st.builds(Price, text, number, text, text), max_size=3).map(tuple),
    free=st.booleans(),
    price_name=text,
    limits=st.lists(st.tuples(text, number, number), max_size=3).map(tuple),
    deprecation_date=text,
    retirement_date=text,
)


def across(message: Any) -> Any:
    """Send *message* through the pipe."""
    framed = pipe.frame({"t": "x", "value": message})
    assert pipe.length(framed[:4]) == len(framed) - 4
    return pipe.message(framed[4:])["value"]


@given(steps)
def test_steps(step: Any) -> None:
    content = step.content if isinstance(step, Artifact) else b""
    assert pipe.unpack_step(across(pipe.pack_step(step)), content) == step


@given(requests)
def test_requests(request: GenerationRequest) -> None:
    assert pipe.unpack_request(across(pipe.pack_request(request)), request.sources) == request


def test_every_field_of_a_request_is_drawn() -> None:
    packed = set(pipe.pack_request(GenerationRequest("m", "text", "p", {}, 1)))
    assert packed == set(GenerationRequest.__dataclass_fields__) - {"sources"}


@given(st.builds(EmbeddingRequest, text, st.lists(text, max_size=3).map(tuple), whole, sessions, number))
def test_requests_for_vectors(request: EmbeddingRequest) -> None:
    assert pipe.unpack_embedding(across(pipe.pack_embedding(request))) == request


@given(models)
def test_models(model: Model) -> None:
    assert pipe.unpack_model(across(pipe.pack_model(model))) == model


@given(
    text,
    st.booleans(),
    text.filter(bool),
    st.sampled_from(["limit", "auth", "failed"]),
    number,
    st.booleans(),
    st.none() | limits,
)
def test_errors(
    said: str,
    retryable: bool,
    reason: str,
    kind: str,
    wait: float,
    terminal: bool,
    told: Limits | None,
) -> None:
    error = ProviderError(
        said, retryable=retryable, reason=reason, kind=kind, retry_after=wait, terminal=terminal, limits=told
    )
    found = pipe.unpack_error(across(pipe.pack_error(error)))
    assert (str(found), vars(found)) == (said, vars(error))


vectors = st.lists(st.lists(number, max_size=4).map(tuple), max_size=3).map(tuple)


@given(
    st.one_of(
        st.tuples(st.just("embed"), st.builds(Embeddings, vectors, usage, st.none() | limits)),
        st.tuples(st.just("probe"), st.builds(Condition, text, st.none() | limits, number)),
        st.tuples(st.just("count_tokens"), whole),
        st.tuples(st.just("cancel"), st.none()),
        st.tuples(st.just("discover"), st.none()),
    )
)
def test_results(called: tuple[str, Any]) -> None:
    method, value = called
    assert pipe.unpack_result(method, across(value)) == value


def test_a_key_does_not_come_back_in_an_error() -> None:
    Secret("sk-planted-0123456789")
    packed = pipe.pack_error(ProviderError("the key sk-planted-0123456789 is refused", kind="auth"))
    assert "planted" not in str(packed)


@given(st.dictionaries(text, json_value, max_size=5) | json_value)
def test_what_is_malformed_is_refused(fields: Any) -> None:
    for unpack in (pipe.unpack_request, pipe.unpack_embedding, pipe.unpack_model):
        if isinstance(fields, dict):
            with pytest.raises(pipe.PipeError):
                unpack(dict(fields))
    for method in ("embed", "probe", "count_tokens"):
        try:
            pipe.unpack_result(method, fields)
        except pipe.PipeError:
            continue


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "Usage", "input_tokens": "many"},
        {"kind": "Progress", "fraction": None, "message": ""},
        {"kind": "Limits", "limits": [{"kind": 1}]},
        {"kind": "Artifact", "media_type": "a/b", "settings": "{"},
        {"kind": "Provider"},
        {},
    ],
    ids=lambda fields: str(fields.get("kind")),
)
def test_malformed_steps_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(pipe.PipeError):
        pipe.unpack_step(fields, b"")


def test_what_is_no_step_is_not_sent() -> None:
    with pytest.raises(TypeError, match="which is no step"):
        pipe.pack_step({"progress": 1})  # type: ignore[arg-type]


@given(st.binary(max_size=100))
def test_any_bytes_are_a_message_or_refused(body: bytes) -> None:
    try:
        found = pipe.message(body)
    except pipe.PipeError:
        return
    assert isinstance(msgspec.msgpack.decode(body), dict)
    assert isinstance(found["t"], str)
