"""JSON is refused where readers could disagree on it, or where it was made to be costly."""

import json

import pytest

from proxy.model.strict_json import DEPTH_LIMIT, VALUE_LIMIT, JsonError, check_json

SIZE = 8 << 20


def refused(raw: bytes) -> str:
    with pytest.raises(JsonError) as raised:
        check_json(raw)
    return str(raised.value)


def nested(depth: int, inner: bytes = b"") -> bytes:
    """Return arrays and objects by turns, `depth` of them around `inner`."""
    opening = [b"[" if level % 2 else b'{"a":' for level in range(depth)]
    closing = [b"]" if level % 2 else b"}" for level in reversed(range(depth))]
    return b"".join([*opening, inner or b"1", *closing])


def test_keys_of_all_objects_are_told() -> None:
    assert check_json(b'{"a": [{"b": {"\\u0063": 1}}, {"b": 2}], "d": {}}') == {"a", "b", "c", "d"}
    assert check_json(b" [1, true, null] ") == set()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":{}}',
        b'{"a":1,"\\u0061":2}',
        b'{"":1,"":2}',
        b'{"a":{"b":1,"b":1}}',
        b'[{"a":1},{"a":1,"a":2}]',
        b'{"a":{"a":{"a":1,"a":1}}}',
        b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}',
        b'{"\\/":1,"/":2}',
    ],
)
def test_same_key_twice_in_an_object_is_refused(raw: bytes) -> None:
    assert "same key twice" in refused(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":{"a":{"a":"a"}},"b":[{"a":1},{"a":1}]}',
        b'{"a":1,"A":2,"a ":3}',
        b'{"a":"\\",\\"a\\":1"}',
        b'{"\\\\":1,"\\\\\\"":2}',
        b'{"a":1e999,"b":1' + b"0" * 5000 + b',"c":-0.0}',
    ],
)
def test_other_documents_are_accepted(raw: bytes) -> None:
    check_json(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"{'a':1}",
        b"[1] 2",
        b"[NaN]",
        b'{"a":{"b":[Infinity]}}',
        b"-Infinity",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"nul",
        b'"\n"',
        b'"\\x41"',
        b"\xef\xbb\xbf{}",
        b"// a comment\n{}",
    ],
)
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    assert refused(raw) == "it is not JSON"


@pytest.mark.parametrize("text", [b"\\ud800", b"\\udc00", b"\\ud800\\u0041", b"\\ude00\\ud83d", b"x\\ud83d"])
@pytest.mark.parametrize("place", [b'{"%b":1}', b'{"a":["%b"]}'])
def test_lone_surrogates_are_refused_wherever_they_stand(place: bytes, text: bytes) -> None:
    assert refused(place % text) == "it is not JSON"


@pytest.mark.parametrize("raw", [b'"\xff"', b'{"\xc3":1}', b'"\xed\xa0\x80"', b'"\xc0\xaf"', '"é"'.encode("utf-16")])
def test_what_is_no_utf8_is_refused(raw: bytes) -> None:
    assert refused(raw) == "it is not UTF-8"


def test_as_many_values_as_the_limit_are_accepted_and_no_more() -> None:
    check_json(b"[" + b"1," * (VALUE_LIMIT - 1) + b"1]")
    assert str(VALUE_LIMIT) in refused(b"[" + b"1," * VALUE_LIMIT + b"1]")
    members = [b'"%d":""' % number for number in range(VALUE_LIMIT + 1)]
    check_json(b"{" + b",".join(members[1:]) + b"}")
    check_json(b"{" + b",".join([b'"a":"%b"' % (b"[" * 200), *members[2:]]) + b"}")
    assert str(VALUE_LIMIT) in refused(b"{" + b",".join(members) + b"}")


def test_what_stands_in_strings_is_neither_a_value_nor_nested() -> None:
    text = '[{,:"}]\\' * VALUE_LIMIT
    check_json(json.dumps({text: [text, {"a": text}]}).encode())
    check_json(b'{"a":"' + b'\\"[' * VALUE_LIMIT + b'"}')
    check_json(b'{"a":"' + b"\\\\" * VALUE_LIMIT + b'","b":"' + b"}" * 4 * VALUE_LIMIT + b'"}')


@pytest.mark.parametrize("text", [b"", b'"[{[{"', b'"\\"]"', b'"' + b"[" * 200 + b'"'])
def test_as_deep_as_the_limit_is_accepted_and_no_deeper(text: bytes) -> None:
    check_json(nested(DEPTH_LIMIT, text))
    assert f"more than {DEPTH_LIMIT} levels" in refused(nested(DEPTH_LIMIT + 1, text))


def test_many_shallow_arrays_are_not_deep() -> None:
    check_json(b"[" + b",".join([nested(DEPTH_LIMIT - 1)] * 10) + b"]")


BOMBS = {
    "arrays": b"[" * SIZE,
    "objects": b'{"a":' * (SIZE // 5),
    "closed arrays": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "closing brackets": b"]" * SIZE,
    "one key over and over": b"{" + b'"a":1,' * (SIZE // 6 - 1) + b'"a":1}',
    "many keys": b"{" + b",".join(b'"%x":0' % number for number in range(SIZE // 10)) + b"}",
    "tiny objects": b"[" + b"{}," * (SIZE // 3 - 1) + b"{}]",
    "tiny strings": b"[" + b'"",' * (SIZE // 3 - 1) + b'""]',
    "tiny numbers": b"[" + b"1," * (SIZE // 2 - 1) + b"1]",
    "little trees": b"[" + b"[[[[]]]]," * (SIZE // 9 - 1) + b"1]",
    "an open string": b'"' + b"a" * SIZE,
    "quotes": b'"' * SIZE,
    "colons": b":" * SIZE,
    "backslashes": b"\\" * SIZE,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS)
def test_text_that_is_made_to_be_costly_is_refused(raw: bytes) -> None:
    refused(raw)


LONG = {
    "a string": b'"' + b"a" * SIZE + b'"',
    "escaped quotes": b'"' + b'\\"' * (SIZE // 2) + b'"',
    "escaped letters": b'"' + b"\\u00e9" * (SIZE // 6) + b'"',
    "a number": b"9" * SIZE,
    "a fraction": b"0." + b"9" * SIZE,
    "numbers of many digits": b"[" + b",".join([b"9" * 4000] * 2000) + b"]",
}


@pytest.mark.parametrize("raw", LONG.values(), ids=LONG)
def test_long_text_of_few_values_is_accepted(raw: bytes) -> None:
    check_json(raw)
