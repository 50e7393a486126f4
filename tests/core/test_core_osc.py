"""The OSC decoder and the builder: python-osc is the oracle where it is right, tables where it is not."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket

from lightfast.core import osc
from lightfast.core.osc import Decoder, OscError, OscMessage, decode, decode_timed, timetag_ns
from lightfast.core.osc_build import encode
from lightfast.sdk import osc as sdk_osc


def padded(text: bytes) -> bytes:
    return text + b"\0" * (4 - len(text) % 4)


def message(address: bytes, tags: bytes, body: bytes = b"") -> bytes:
    return padded(address) + padded(b"," + tags) + body


def bundle(*elements: bytes, time: int = 1) -> bytes:
    return b"#bundle\0" + struct.pack(">Q", time) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


# ---------------------------------------------------------------------- what real applications send


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (padded(b"#reply") + padded(b",s") + padded(b"end"), ("#reply", "s", ("end",))),
        (message(b"/a", b"I"), ("/a", "I", (math.inf,))),
        (message(b"/a", b"S", padded(b"sym")), ("/a", "S", ("sym",))),
        (message(b"/a", b"ci", b"\0\0\0A\0\0\0\7"), ("/a", "ci", ("A", 7))),
        (message(b"/a", b"s", padded("Gitarre grün".encode("latin-1"))), ("/a", "s", ("Gitarre grün",))),
        (message(b"/a", b"s", padded("Бас".encode())), ("/a", "s", ("Бас",))),
        (message(b"/a", b"h", struct.pack(">q", -(1 << 62))), ("/a", "h", (-(1 << 62),))),
        (message(b"/a", b"d", struct.pack(">d", 0.1)), ("/a", "d", (0.1,))),
        (message(b"/a", b"t", struct.pack(">Q", 1)), ("/a", "t", (1,))),
        (message(b"/a", b"r", b"\xff\0\x80\x01"), ("/a", "r", (0xFF008001,))),
        (message(b"/a", b"m", b"\0\x90\x3c\x64"), ("/a", "m", ((0, 144, 60, 100),))),
        (message(b"/a", b"iF", b"\0\0\0\2"), ("/a", "iF", (2, False))),
        (message(b"/a", b"TFN"), ("/a", "TFN", (True, False, None))),
        (message(b"/a", b"Ti", b"\0\0\0\2"), ("/a", "Ti", (True, 2))),
        (message(b"/a", b"[i[T]]s", b"\0\0\0\2" + padded(b"x")), ("/a", "[i[T]]s", ([2, [True]], "x"))),
        (message(b"/a", b"[]"), ("/a", "[]", ([],))),
        (message(b"/a", b"b", b"\0\0\0\5hello\0\0\0"), ("/a", "b", (b"hello",))),
        (message(b"/a", b"b", b"\0\0\0\0"), ("/a", "b", (b"",))),
        (message(b"/a", b""), ("/a", "", ())),
        (padded(b"/a"), ("/a", "", ())),  # no type tag string at all
        (padded(b"/gr\xfcn") + padded(b","), ("/grün", "", ())),
        (message(b"/a", b"s", padded(b"x"))[:-2], ("/a", "s", ("x",))),  # last zero bytes left away
        (message(b"/a", b"i", b"\0\0\0\2more"), ("/a", "i", (2,))),  # what no tag speaks of is left alone
    ],
)
def test_what_real_applications_send(datagram: bytes, expected: tuple[str, str, tuple[Any, ...]]) -> None:
    assert decode(datagram) == [expected]
    assert decode(datagram) == [expected]  # now from the template


@pytest.mark.parametrize(
    ("datagram", "problem", "offset"),
    [
        (b"", "no end", 0),
        (b"/abc", "no end", 0),
        (b"garbage", "no end", 0),
        (b"\0\0\0\0", "empty", 0),
        (b"/a\x07\0", "control characters", 0),
        (padded(b"/a") + b"\0\0\0\1", "without a type tag", 4),
        (padded(b"/a") + b",iii", "type tag string has no end", 4),
        (message(b"/a", b"x"), "'x' is unknown", 5),
        (message(b"/a", b"[i"), "not closed", 7),
        (message(b"/a", b"i]"), "closes no array", 6),
        (message(b"/a", b"i", b"\0"), "", -1),  # padded to a zero: three bytes more make it whole
        (message(b"/a", b"ii", b"\0\0\0\1"), "end early", 8),
        (message(b"/a", b"is", b"\0\0\0\1abcd"), "string has no end", 12),
        (message(b"/a", b"b", b"\0\0\0\x09hello\0\0\0"), "blob ends early", 8),
        (message(b"/a", b"b", b"\xff\xff\xff\xff"), "blob ends early", 8),
        (message(b"/a", b"b"), "blob ends early", 8),
        (message(b"/a", b"c", b"\0\0\xd8\0"), "no character", 12),
        (message(b"/a", b"c", b"\x7f\0\0\0"), "no character", 12),
        (b"#bundle\0\0\0\0", "no time tag", 8),
        (bundle() + b"\0\0", "ends within a size", 16),
        (bundle() + b"\xff\xff\xff\xfc", "claims -4 bytes", 16),
        (bundle() + b"\0\0\0\0", "claims 0 bytes", 16),
        (bundle() + b"\0\0\0\x09/a\0\0", "claims 9 bytes", 16),
        (bundle(message(b"/a", b"x")), "'x' is unknown", 25),
        (bundle(bundle(message(b"/a", b"x"))), "'x' is unknown", 45),
    ],
)
def test_what_is_not_osc(datagram: bytes, problem: str, offset: int) -> None:
    if offset < 0:
        assert decode(datagram)[0].args == (0,)
        return
    with pytest.raises(OscError, match=problem) as caught:
        decode(datagram)
    assert caught.value.offset == offset


def test_nesting_is_bounded() -> None:
    inner = message(b"/a", b"i", b"\0\0\0\1")
    for _ in range(osc.MAX_BUNDLE_DEPTH):
        inner = bundle(inner)
    assert decode(inner) == [("/a", "i", (1,))]
    with pytest.raises(OscError, match="deeper than 8"):
        decode(bundle(inner))
    assert decode(message(b"/a", b"[" * 16 + b"]" * 16))[0].tags == "[" * 16 + "]" * 16
    with pytest.raises(OscError, match="deeper than 16"):
        decode(message(b"/a", b"[" * 20_000 + b"]" * 20_000))


def test_bundles_keep_their_times() -> None:
    at = (2_208_988_800 + 1_700_000_000) << 32 | 1 << 31
    one, two = message(b"/a", b"i", b"\0\0\0\1"), message(b"/b", b"T")
    timed = decode_timed(bundle(one, bundle(two, time=at)))
    assert timed == [(0, ("/a", "i", (1,))), (1_700_000_000_500_000_000, ("/b", "T", (True,)))]
    assert decode_timed(one) == [(0, ("/a", "i", (1,)))]
    assert timetag_ns(0) == 0
    assert timetag_ns((1 << 64) - 1) < 1 << 63


def test_templates_are_bounded_and_do_not_mix() -> None:
    decoder = Decoder(max_templates=8)
    for _ in range(2):
        for number in range(50):
            found = decoder.decode(message(b"/a/%d" % number, b"i", struct.pack(">i", number)))
            assert found == [(f"/a/{number}", "i", (number,))]
            assert len(decoder._templates) <= 8
    long = b"/" + b"x" * 2000
    decoder.decode(message(long, b"T"))
    assert all(len(key) <= osc.MAX_HEADER_BYTES for key in decoder._templates)


@given(st.binary(max_size=200))
@settings(max_examples=400, deadline=None)
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    for datagram in (data, b"/a\0\0" + data, b"/a\0\0," + data, b"#bundle\0" + data):
        try:
            found = decode(datagram)
        except OscError:
            continue
        assert all(isinstance(one, OscMessage) for one in found)


@given(st.binary(min_size=1, max_size=8), st.integers(0, 200), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_messages_raise_nothing_else(patch: bytes, at: int, data: st.DataObject) -> None:
    whole = bundle(encode("/live/track/get/name", 3, "Bass", b"blob", None, ("d", 0.1), [1, [2.0]]), encode("/x", 1.5))
    damaged = whole[: at % len(whole)] + patch + whole[at % len(whole) + len(patch) :]
    cut = damaged[: data.draw(st.integers(0, len(damaged)))]
    for datagram in (damaged, cut):
        try:
            decode(datagram)
        except OscError:
            continue


# ---------------------------------------------------------------------- python-osc as the oracle

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_ADDRESS = st.text("abcdefgABC0123456789/_-.%", max_size=20).map(lambda text: "/" + text)
_SCALAR = st.one_of(
    st.integers(-(1 << 31), (1 << 31) - 1).map(lambda value: ("i", value)),
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda value: ("h", value)),
    st.floats(width=32, allow_nan=False).map(lambda value: ("f", value)),
    st.floats(allow_nan=False).map(lambda value: ("d", value)),
    _TEXT.map(lambda value: ("s", value)),
    st.binary(min_size=1, max_size=12).map(lambda value: ("b", value)),
    st.integers(0, (1 << 32) - 1).map(lambda value: ("r", value)),
    st.tuples(*[st.integers(0, 255)] * 4).map(lambda value: ("m", value)),
    st.sampled_from([("T", True), ("F", False), ("N", None)]),
)


def built(address: str, typed: list[Any]) -> bytes:
    builder = OscMessageBuilder(address)
    for one in typed:
        if isinstance(one, list):
            builder.add_arg([value for _, value in one], [tag for tag, _ in one])
        else:
            builder.add_arg(one[1], one[0])
    return bytes(builder.build().dgram)


@given(_ADDRESS, st.lists(st.one_of(_SCALAR, st.lists(_SCALAR, min_size=1, max_size=3)), max_size=8))
@settings(max_examples=300, deadline=None)
def test_equal_to_python_osc(address: str, typed: list[Any]) -> None:
    datagram = built(address, typed)
    for _ in range(2):
        (found,) = decode(datagram)
        (theirs,) = OscPacket(datagram).messages
        assert (found.address, list(found.args)) == (theirs.message.address, theirs.message.params)


@given(st.lists(st.tuples(_ADDRESS, st.lists(_SCALAR, max_size=3)), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_bundles_equal_to_python_osc(messages: list[tuple[str, list[Any]]]) -> None:
    builder = OscBundleBuilder(IMMEDIATELY)
    for address, typed in messages:
        one = OscMessageBuilder(address)
        for tag, value in typed:
            one.add_arg(value, tag)
        builder.add_content(one.build())
    datagram = builder.build().dgram
    theirs = [(one.message.address, one.message.params) for one in OscPacket(datagram).messages]
    assert [(one.address, list(one.args)) for one in decode(datagram)] == theirs


# ---------------------------------------------------------------------- the builder


def test_builder_chooses_types() -> None:
    def tags(*arguments: Any) -> str:
        return decode(encode("/a", *arguments))[0].tags

    assert tags(1, 1 << 31, -(1 << 31), 1.0, "x", b"x", True, False, None, [1, [2.0]]) == "ihifsbTFN[i[f]]"
    assert tags(("d", 0.1), ("h", 1), ("f", 1), ("r", 1), ("m", (0, 1, 2, 3))) == "dhfrm"
    assert decode(encode("/a", ("d", 0.1)))[0].args == (0.1,)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((1 << 64,), "cannot be built"),
        ((1e300,), "cannot be built"),
        ((b"",), "cannot be built"),
        (("a\0b",), "NUL"),
        ((("s", "a\0b"),), "NUL"),
        ((("x", 1),), "a tuple is a type tag"),
        (((1.0, 2.0),), "a tuple is a type tag"),
        ((("i", "x"),), "cannot be built"),
        ((("m", 3),), "cannot be built"),
        ((("s", 3),), "not text"),
        (({},), "dict, which OSC cannot carry"),
        (([[object()]],), r"argument 0\[0\]\[0\] is object"),
        (("x" * 70_000,), "a datagram carries 65507"),
    ],
)
def test_builder_refuses(arguments: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(OscError, match=problem):
        encode("/a", *arguments)


def test_builder_refuses_addresses() -> None:
    for address in ("", "/a\0b"):
        with pytest.raises(OscError):
            encode(address)


def test_plugins_have_the_codec() -> None:
    assert sdk_osc.decode(sdk_osc.encode("/a", 1.5)) == [sdk_osc.OscMessage("/a", "f", (1.5,))]
