"""Each constraint of the models, violated once: refused with the exception that AWS names, and nothing changed.

The requests are generated from the models themselves, for every operation that is offered.
"""

import asyncio
import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from proxy.core.access.caller import Caller
from proxy.core.offloading import Offloader
from proxy.core.registry.administration import Administration
from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.dispatch import Api
from proxy.http.aws.operations import ApiCall, Operation, State
from proxy.http.aws.protocol import Codec
from proxy.http.aws.validation import UnfitError, check
from proxy.model.api_errors import ApiError
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.api_shapes import sample, violations
from tests.unit.http.aws.contents import Contents

SERVICES: Mapping[str, tuple[Codec, Mapping[str, Operation]]] = {
    "ecr": (Codec("ecr"), ecr.OPERATIONS),
    "secretsmanager": (Codec("secretsmanager"), secretsmanager.OPERATIONS),
}

OFFERED = [
    (service, name)
    for service, (_, operations) in SERVICES.items()
    for name, operation in operations.items()
    if operation.state is not State.REFUSED
]

EVERY_OPERATION = pytest.mark.parametrize(("service", "name"), OFFERED, ids=[name for _, name in OFFERED])

Snapshot = Callable[[], dict[str, Any]]


@pytest.fixture
def call(services: Administration) -> ApiCall:
    return ApiCall(services, services.identity, "http://localhost:5000", Caller(), "id")


@pytest.fixture
async def surface(services: Administration, call: ApiCall) -> Api:
    """The APIs of a registry that holds something."""
    made = await asyncio.to_thread(Api, services, Offloader())
    policy = '{"Version": "2012-10-17", "Statement": []}'
    for operation, given in [
        ("CreateRepository", {"repositoryName": "team/app", "tags": [{"Key": "team", "Value": "one"}]}),
        ("CreateRepositoryCreationTemplate", {"prefix": "team/app", "appliedFor": ["CREATE_ON_PUSH"]}),
        ("CreatePullThroughCacheRule", {"ecrRepositoryPrefix": "quay", "upstreamRegistryUrl": "quay.io"}),
    ]:
        await made.invoke(call, f"AmazonEC2ContainerRegistry_V20150921.{operation}", json.dumps(given).encode())
    secret = {"Name": "ecr-pullthroughcache/one", "SecretString": policy}
    await made.invoke(call, "secretsmanager.CreateSecret", json.dumps(secret).encode())
    return made


@pytest.fixture
def state(metadata: MemoryMetadataStore, contents: Contents) -> Snapshot:
    return lambda: copy.deepcopy(vars(metadata) | {"content": vars(contents.store)})


@EVERY_OPERATION
async def test_each_violation_is_refused_by_name_and_changes_nothing(
    service: str, name: str, surface: Api, call: ApiCall, state: Snapshot
) -> None:
    codec, _ = SERVICES[service]
    before, shape, seen = state(), codec.operation(name).input_shape, 0
    assert shape is not None
    for member, why, request in violations(shape):
        with pytest.raises(ApiError) as caught:
            await surface.invoke(call, f"{codec.target_prefix}.{name}", json.dumps(request).encode())
        error, shown = caught.value, (member, why, caught.value.message)
        assert error.code.status == 400, shown
        if member:
            assert error.code.name in {"InvalidParameterException"} & codec.exceptions(name), shown
            assert f"'{member}'" in error.message, shown
        else:
            # The body is no structure at all: there is no member to name.
            assert error.code.name == "SerializationException", shown
        seen += 1
    assert seen >= 3
    assert state() == before


def test_there_are_several_hundred_violations_of_every_kind() -> None:
    found: list[str] = []
    for service, name in OFFERED:
        shape = SERVICES[service][0].operation(name).input_shape
        assert shape is not None
        found += [why for member, why, _ in violations(shape) if member]
    assert len(found) > 1000
    assert set(found) == {"type", "required", "null", "min", "max", "enum", "pattern", "base64", "bits"}


@EVERY_OPERATION
def test_the_request_that_is_broken_is_valid_as_long_as_it_is_not(service: str, name: str) -> None:
    codec, _ = SERVICES[service]
    shape = codec.operation(name).input_shape
    assert shape is not None
    assert set(codec.decode(name, json.dumps(sample(shape)).encode())) == set(shape.members)


@pytest.mark.parametrize(("service", "name"), [("ecr", name) for name in ecr.OPERATIONS])
async def test_members_of_a_later_model_and_null_are_as_if_they_were_absent(service: str, name: str) -> None:
    codec, operations = SERVICES[service]
    shape = codec.operation(name).input_shape
    if operations[name].state is State.REFUSED:
        return
    assert shape is not None
    fitting = sample(shape)
    later = fitting | {"aMemberOfALaterModel": {"deep": [None]}}
    optional = {member: None for member in shape.members if member not in shape.required_members}
    assert codec.decode(name, json.dumps(later).encode()) == codec.decode(name, json.dumps(fitting).encode())
    assert set(codec.decode(name, json.dumps(fitting | optional).encode())) == set(shape.required_members)


def test_no_pattern_takes_forever_on_text_that_nearly_fits() -> None:
    patterns = set()
    for service, name in OFFERED:
        shapes = [SERVICES[service][0].operation(name).input_shape]
        while shapes:
            shape = shapes.pop()
            members = [*getattr(shape, "members", {}).values(), getattr(shape, "member", None)]
            shapes += [inner for inner in members if inner is not None]
            if shape is not None and "pattern" in shape.metadata:
                patterns.add(shape)
    assert len(patterns) > 5
    for shape in patterns:
        length = min(shape.metadata.get("max", 1 << 14), 1 << 14)
        for part in ("a", "ab-", "a.", "a_", "a__", "a/", "a-", "-", "/", ".", "0", "*", "arn:aws-a", "a:", "="):
            text = f"{(part * length)[: length - 1]}~"
            with pytest.raises(UnfitError):
                check(shape, text)
