"""Frames and proofs by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast_link.auth import AuthError, Challenger, Responder
from lightfast_link.frame import MAX_FRAME, MAX_HEADER, MAX_PARTS, Frame, FrameError, Splitter, decode, encode, pack

JSON: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FRAMES = st.builds(
    Frame,
    st.from_regex(r"[a-z][a-z_]{0,31}", fullmatch=True),
    st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON, max_size=5),
    st.lists(st.binary(max_size=64), max_size=MAX_PARTS - 2),
)


@given(FRAMES)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_is_cut_into_its_frames_wherever_it_is_torn(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(pack(encode(frame)) for frame in frames)
    splitter, found, position, turn = Splitter(), [], 0, 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        found += [decode(parts) for parts in splitter.feed(stream[position : position + step])]
        position, turn = position + step, turn + 1
    assert found == frames


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_random_parts_are_a_frame_or_a_frame_error(parts: list[bytes]) -> None:
    try:
        frame = decode(parts)
    except FrameError as error:
        assert str(error)  # noqa: PT017  # either end is right
    else:
        assert encode(frame)[0] == parts[0]


@given(st.binary(max_size=300))
def test_random_bytes_never_keep_more_than_the_bound(data: bytes) -> None:
    splitter = Splitter(limit=100)
    try:
        for parts in splitter.feed(data):
            assert sum(map(len, parts)) <= 100
    except FrameError as error:
        assert str(error)  # noqa: PT017  # either end is right
    else:
        assert len(splitter._buffer) <= 100 + 4 + 4 * MAX_PARTS


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([b"state"], "a frame has a type, a header and at most 6 blobs, not 1 parts"),
        ([b"x", b"{}", *[b""] * 7], "not 9 parts"),
        ([b"State", b"{}"], "b'State' is not a frame type"),
        ([b"state", b"[]"], "the header of 'state' is not a JSON object"),
        ([b"state", b"{"], "the header of 'state' is not JSON"),
        ([b"state", b'{"a": NaN}'], "NaN is not JSON"),
        ([b"state", b'{"a": "\\ud800"}'], "surrogates not allowed"),
        ([b"state", b"\xff"], "the header of 'state' is not JSON"),
        ([b"state", b"[" * 100_000], "the header of 'state' is not JSON"),
        ([b"state", b"{}" + b" " * MAX_HEADER], "the most is 4194304"),
        ([b"state", b"{}", bytes(MAX_FRAME)], "the most is 8388608"),
    ],
)
def test_a_malformed_frame_is_told_what_is_wrong(parts: list[bytes], message: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode(parts)
    assert message in str(caught.value)


@pytest.mark.parametrize("header", [{"a": float("nan")}, {"a": object()}, {"a": b"bytes"}, {"a": "\ud800"}])
def test_what_is_no_json_is_not_sent(header: dict[str, Any]) -> None:
    with pytest.raises(FrameError, match="the header of 'state' is not JSON"):
        encode(Frame("state", header))


KEY, OTHER = bytes(32), bytes([1] * 32)


def test_two_who_hold_the_key_believe_each_other() -> None:
    challenger, responder = Challenger(KEY), Responder(KEY)
    challenge = challenger.challenge(responder.start()["nonce"])
    challenger.verify(responder.respond(challenge["nonce"], challenge["proof"])["proof"])


def test_neither_believes_another_key() -> None:
    responder = Responder(OTHER)
    challenge = Challenger(KEY).challenge(responder.start()["nonce"])
    with pytest.raises(AuthError, match="the daemon does not hold this link key"):
        responder.respond(challenge["nonce"], challenge["proof"])
    challenger, honest = Challenger(KEY), Challenger(OTHER)
    start = responder.start()["nonce"]
    challenger.challenge(start)
    answer = honest.challenge(start)
    with pytest.raises(AuthError, match="not the one of this daemon"):
        challenger.verify(responder.respond(answer["nonce"], answer["proof"])["proof"])


def test_a_proof_cannot_be_played_back_to_its_maker() -> None:
    challenger = Challenger(KEY)
    challenge = challenger.challenge("00" * 32)
    with pytest.raises(AuthError):
        challenger.verify(challenge["proof"])
    responder = Responder(KEY)
    nonce = responder.start()["nonce"]
    mirror = Responder(KEY)
    mirror._ours = bytes.fromhex(nonce)
    with pytest.raises(AuthError):
        responder.respond(nonce, nonce)


def test_a_challenge_is_good_for_one_try() -> None:
    challenger, responder = Challenger(KEY), Responder(KEY)
    challenge = challenger.challenge(responder.start()["nonce"])
    proof = responder.respond(challenge["nonce"], challenge["proof"])["proof"]
    with pytest.raises(AuthError):
        challenger.verify("00")
    with pytest.raises(AuthError):
        challenger.verify(proof)


@pytest.mark.parametrize("nonce", [None, 7, "", "zz" * 32, "00" * 31, "00" * 33, ["00"]])
def test_a_malformed_nonce_is_refused(nonce: object) -> None:
    with pytest.raises(AuthError, match="the nonce must be 32 bytes in hex"):
        Challenger(KEY).challenge(nonce)
    with pytest.raises(AuthError, match="the nonce must be 32 bytes in hex"):
        Responder(KEY).respond(nonce, "")


@given(st.binary(min_size=32, max_size=32), st.text(max_size=80) | st.none() | st.integers())
def test_a_guess_is_refused(key: bytes, guess: object) -> None:
    challenger = Challenger(key)
    challenger.challenge("00" * 32)
    with pytest.raises(AuthError):
        challenger.verify(guess)
