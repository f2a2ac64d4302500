"""Whatever bytes come, decoding gives an object of the model or names what is wrong; and values survive the way."""

import base64
import json
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.operations import State
from proxy.http.aws.pages import key_before, token_after
from proxy.http.aws.protocol import Codec
from proxy.model.api_errors import ApiError, ApiErrorCode
from tests.support.api_shapes import faults, sample

CODECS = {"ecr": Codec("ecr"), "secretsmanager": Codec("secretsmanager")}
OFFERED = [
    (service, name)
    for service, operations in (("ecr", ecr.OPERATIONS), ("secretsmanager", secretsmanager.OPERATIONS))
    for name, operation in operations.items()
    if operation.state is not State.REFUSED
]
REFUSALS = {ApiErrorCode.SerializationException, ApiErrorCode.InvalidParameterException}

operations = st.sampled_from(OFFERED)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abRr"), inner, max_size=4),
    max_leaves=12,
)


def is_decoded(shape: Shape, value: Any) -> bool:  # noqa: ANN401 - JSON
    """Tell whether a decoded value has the types of the model, and nothing else."""
    match shape:
        case StructureShape():
            return set(value) <= set(shape.members) and all(is_decoded(shape.members[key], value[key]) for key in value)
        case ListShape():
            return isinstance(value, list) and all(is_decoded(shape.member, item) for item in value)
        case MapShape():
            return isinstance(value, dict) and all(is_decoded(shape.value, item) for item in value.values())
        case _:
            kinds = {"string": str, "blob": bytes, "boolean": bool, "integer": int, "long": int}
            return isinstance(value, kinds.get(shape.type_name, (int, float)))


def decoded_or_refused(service: str, name: str, body: bytes) -> None:
    codec = CODECS[service]
    shape = codec.operation(name).input_shape
    assert shape is not None
    try:
        decoded = codec.decode(name, body)
    except ApiError as error:
        refusal = error
    else:
        assert is_decoded(shape, decoded)
        return
    assert refusal.code in REFUSALS
    assert refusal.message


@given(operations, st.binary(max_size=200))
def test_any_bytes(operation: tuple[str, str], body: bytes) -> None:
    decoded_or_refused(*operation, body)


@given(operations, documents)
def test_any_document(operation: tuple[str, str], document: object) -> None:
    decoded_or_refused(*operation, json.dumps(document).encode())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(operations, st.data())
def test_a_request_that_fits_but_for_one_place(operation: tuple[str, str], data: st.DataObject) -> None:
    service, name = operation
    shape = CODECS[service].operation(name).input_shape
    assert shape is not None
    request = sample(shape)
    place: Any = request
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(documents)
            break
        place = place[key]
    decoded_or_refused(service, name, json.dumps(request).encode())


def answers(shape: Shape) -> st.SearchStrategy[Any]:
    """Return values of an answer, as operations give them; what messages say of lengths is left aside."""
    match shape:
        case StructureShape():
            members = {name: st.none() | answers(inner) for name, inner in shape.members.items()}
            needed = {name: answers(shape.members[name]) for name in shape.required_members}
            return st.fixed_dictionaries(members | needed)
        case ListShape():
            return st.lists(answers(shape.member), min_size=1, max_size=2)
        case MapShape():
            return st.dictionaries(answers(shape.key), answers(shape.value), max_size=2)
        case _:
            values = {"blob": st.binary(max_size=8), "timestamp": st.floats(0, 4e9)}
            return values.get(shape.type_name, st.just(sample(shape)))


@pytest.mark.parametrize(("service", "name"), OFFERED, ids=[name for _, name in OFFERED])
def test_any_answer_of_the_model_is_written_as_the_model_says(service: str, name: str) -> None:
    codec = CODECS[service]
    shape = codec.operation(name).output_shape

    @settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
    @given(answers(shape) if shape is not None else st.just({}))
    def check(answer: Any) -> None:  # noqa: ANN401 - JSON
        told = json.loads(codec.encode(name, answer))
        assert list(faults(shape, told)) == []
        assert {key for key, value in answer.items() if value is not None} == set(told)

    check()


@given(st.text(max_size=200).filter(lambda text: text.isprintable()))
def test_tokens_lead_to_their_keys(key: str) -> None:
    assert key_before(token_after(key)) == key


@given(st.text(max_size=50) | st.binary(max_size=50).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_token_is_a_key_or_refused(token: str) -> None:
    try:
        key = key_before(token)
    except ApiError as error:
        refusal = error
    else:
        assert key_before(token_after(key)) == key
        return
    assert refusal.code is ApiErrorCode.InvalidParameterException
