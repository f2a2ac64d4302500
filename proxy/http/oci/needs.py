"""What callers must be permitted to do, for each endpoint: the actions of policies, and ECR's names of what is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.model.access import Action


@dataclass(frozen=True, slots=True)
class Need:
    """What an endpoint does: the action that a policy must grant, and the operation of ECR that it stands for."""

    action: Action
    operation: str


FIRST_PULL: Final = Need(Action.FIRST_PULL, "ecr:BatchImportUpstreamImage")
IMAGE: Final = Need(Action.PULL, "ecr:BatchGetImage")
LAYER: Final = Need(Action.PULL, "ecr:GetDownloadUrlForLayer")
LAYER_EXISTS: Final = Need(Action.PULL, "ecr:BatchCheckLayerAvailability")
LIST: Final = Need(Action.PULL, "ecr:ListImages")
PUT_IMAGE: Final = Need(Action.PUSH, "ecr:PutImage")
BEGIN: Final = Need(Action.PUSH, "ecr:InitiateLayerUpload")
CHUNK: Final = Need(Action.PUSH, "ecr:UploadLayerPart")
COMPLETE: Final = Need(Action.PUSH, "ecr:CompleteLayerUpload")
DELETE: Final = Need(Action.DELETE, "ecr:BatchDeleteImage")

_ALL: Final = (FIRST_PULL, IMAGE, LAYER, LAYER_EXISTS, LIST, PUT_IMAGE, BEGIN, CHUNK, COMPLETE, DELETE)

OPERATIONS: Final[Mapping[Action, Sequence[str]]] = {
    action: tuple(need.operation for need in _ALL if need.action is action)
    for action in dict.fromkeys(need.action for need in _ALL)
}
"""The operations that an action is needed for, here."""
