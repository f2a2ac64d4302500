"""AWS JSON 1.1, decoded and encoded by botocore's own models of the services: no shape is written here by hand."""

import base64
import binascii
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from proxy.http.aws.validation import UnfitError, check, join
from proxy.model.api_errors import ApiError, ApiErrorCode, invalid
from proxy.model.strict_json import JsonError, check_json

CONTENT_TYPE = "application/x-amz-json-1.1"


class Codec:
    """One service: what its requests and answers look like.

    Loading a model for the first time reads files and takes some hundredths of a second: not on the event loop.
    """

    def __init__(self, service: str) -> None:
        """Load the newest model of `service` that botocore brings."""
        self.model: ServiceModel = _load(service)
        self.target_prefix: str = self.model.metadata["targetPrefix"]
        self.operations = frozenset(self.model.operation_names)

    def operation(self, name: str) -> OperationModel:
        """Return the model of an operation; `ApiError` UnknownOperationException where there is none of that name."""
        if name not in self.operations:
            raise ApiError(ApiErrorCode.UnknownOperationException)
        return self.model.operation_model(name)

    def exceptions(self, operation: str) -> frozenset[str]:
        """Return the names of the exceptions that the model lists for an operation."""
        return frozenset(shape.name for shape in self.operation(operation).error_shapes)

    def decode(self, operation: str, body: bytes) -> dict[str, Any]:
        """Return what a request gave, validated, without members that are null or not in the model.

        Blobs are bytes. Raises `ApiError`: SerializationException for a body that is not a JSON object on which all
        readers agree; InvalidParameterException, naming the member, for what the model refuses.
        """
        shape = self.operation(operation).input_shape
        given = _read(body)
        if shape is None:
            return {}
        try:
            check(shape, given)
            decoded: dict[str, Any] = _decode(shape, given, "")
        except UnfitError as error:
            raise invalid(error.member, error.constraint) from error
        return decoded

    def encode(self, operation: str, answer: Mapping[str, Any]) -> bytes:
        """Return the body of an answer; members that are None are left out, as AWS does."""
        shape = self.operation(operation).output_shape
        # NaN is no JSON: better our error than a body that no client reads.
        return json.dumps({} if shape is None else _encode(shape, answer), allow_nan=False).encode()


@cache
def _load(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _read(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        check_json(body)
        given = json.loads(body)
    except JsonError as error:
        raise ApiError(ApiErrorCode.SerializationException, f"the body cannot be read: {error}") from error
    except ValueError as error:
        # Python's limit of the digits of a number.
        raise ApiError(ApiErrorCode.SerializationException, "the body holds a number that is too long") from error
    if not isinstance(given, dict):
        raise ApiError(ApiErrorCode.SerializationException, "the body is not a JSON object")
    return given


def _decode(shape: Shape, value: Any, member: str) -> Any:  # noqa: ANN401 - JSON
    match shape:
        case StructureShape():
            return {
                name: _decode(inner, value[name], join(member, name))
                for name, inner in shape.members.items()
                if value.get(name) is not None
            }
        case ListShape():
            return [_decode(shape.member, item, join(member, f"{place}.member")) for place, item in enumerate(value, 1)]
        case MapShape():
            return {key: _decode(shape.value, item, join(member, key)) for key, item in value.items()}
        case _:
            return _decode_blob(shape, value, member) if shape.type_name == "blob" else value


def _decode_blob(shape: Shape, text: str, member: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnfitError(member, "Member must be text in base64") from error
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and len(data) < least:
        raise UnfitError(member, f"Member must have length greater than or equal to {least}")
    if most is not None and len(data) > most:
        raise UnfitError(member, f"Member must have length less than or equal to {most}")
    return data


def _encode(shape: Shape, value: Any) -> Any:  # noqa: ANN401 - JSON
    match shape:
        case StructureShape():
            # A name that the model does not know is our own mistake, and raises KeyError.
            return {name: _encode(shape.members[name], item) for name, item in value.items() if item is not None}
        case ListShape():
            return [_encode(shape.member, item) for item in value]
        case MapShape():
            return {key: _encode(shape.value, item) for key, item in value.items()}
        case _:
            return base64.b64encode(value).decode() if shape.type_name == "blob" else value
