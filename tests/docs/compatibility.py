# ruff: noqa: E501 - the lines of a table are as long as what they say
"""The page about what of AWS's APIs is offered: written from the tables by which requests are answered."""

from collections.abc import Mapping

import botocore.session

from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.operations import Operation, State

INTRODUCTION = """\
# Compatibility with Amazon ECR

The port of the registry also answers the APIs of Amazon ECR, of a part of AWS Secrets Manager (the credentials of cache
rules) and of STS as far as SDKs ask who they are. boto3, the AWS CLI, Terraform and every SDK that speaks AWS JSON 1.1
work unchanged; they need the endpoint and an access key. Without `auth` any will do; with it, see [below](#signatures).

```sh
export AWS_ENDPOINT_URL=http://localhost:5000 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
aws ecr create-pull-through-cache-rule --ecr-repository-prefix quay --upstream-registry-url quay.io
docker pull localhost:5000/quay/prometheus/node-exporter
aws ecr describe-images --repository-name quay/prometheus/node-exporter
```

Every parameter is checked on the server by botocore's own models, as ECR does: what is missing, too long, too many or of
another form is InvalidParameterException, in ECR's words, and changes nothing.

## Two characters

`registry.compatibility` says what happens where ECR is narrower than one would like. Each is complete: no operation is
missing in either.

| | `relaxed` (the default) | `ecr` ([`config/ecr.yaml`](../config/ecr.yaml)) |
| --- | --- | --- |
| upstreams of cache rules | any host, with or without credentials | ECR's nine, with a secret where ECR wants one |
| number of cache rules | any | 50 |
| a tag of a cache is checked upstream | after 5 minutes | after 24 hours |
| push to a repository that is not there | makes it | makes it where a creation template has CREATE_ON_PUSH |
| push into a cache | where its rule says `push: allow` | permitted, unless the rule says otherwise |
| `docker push` of the same image to an immutable tag | succeeds | is refused, like every push to it |
| `nginx` under a rule for Docker Hub | is `library/nginx` there | is `nginx` there, which does not exist |
| what follows once a layer was pulled | the rest of that image | the rest of all images of its index |
| tag list of a cache | what the upstream has, too | what was pulled |
| a repository that the upstream denies to a rule without credentials | 404: it does not exist, or is private | 403 |
| `credentialArn` of another account or region | its name counts | is not found |
| secrets with a KMS key of their own | are read | are refused |
| parts of a layer below 5 MiB, URLs of layers that no image has | are taken, are given | are refused |
| a lifecycle policy that lets images expire by their last pull | is taken | is refused |

## What engineers who know ECR try first

Fifteen behaviours, each shown by tests over the real program in both characters (`tests/e2e/test_ecr_*.py`), and what of
them also holds in `relaxed`.

| | behaviour | `ecr` | `relaxed` |
| --- | --- | --- | --- |
| 1 | `aws ecr get-login-password`, then `docker login`; the password says 12 hours | yes; it is demanded where `auth` is set | the same |
| 2 | a first pull makes the repository, digest for digest as upstream | yes, with all images of an index | yes, with the image that is used |
| 3 | upstreams that need a secret are refused without one, and so are secrets that are not there | yes | any upstream is taken; secrets that are not there are refused |
| 4 | no request upstream inside the window, one check after it, none by digest | 24 hours | 5 minutes |
| 5 | upstream down: what is cached is served, all else is a clear error that leaves nothing behind | yes | yes |
| 6 | duplicate, unknown and malformed prefixes; the 51st rule | refused | refused; there is no limit |
| 7 | whole segments, the longest prefix, `ROOT` last, `upstreamRepositoryPrefix` | yes | yes, and `library/` is added |
| 8 | a deleted rule: what is cached is served, all else is unknown | yes | yes |
| 9 | creation templates for pulls and pushes | yes; a push without one is 404 | yes; a push without one makes the repository |
| 10 | immutable tags: `TAG_INVALID`, `ImageTagAlreadyExistsException`, `ImageAlreadyExistsException` | yes, the same digest too | yes, the same digest may be pushed again |
| 11 | exclusion filters of whole tags, and what is no filter | yes | yes |
| 12 | an immutable tag of a cache stays when the upstream moves it | yes | yes |
| 13 | Terraform: apply, plan without changes, update, import, destroy | yes | not shown |
| 14 | fifty first pulls cost one fetch of each part, without a redirect | yes | yes |
| 15 | what clients push the API describes, what the API puts clients pull, pages of one entry | yes | yes |

## Errors

Names, HTTP status and sentences are those of ECR, as far as they are known: `RepositoryNotFoundException`, 400, "The
repository with name 'x' does not exist in the registry with id '000000000000'". Three are not in ECR's model, and mean
what they mean everywhere in AWS: `SerializationException` (the body is not a JSON object on which all readers agree),
`UnknownOperationException`, and `UnsupportedOperationException` for what is not offered here. What passes by itself, such
as a full disk, is `ServiceUnavailable` with 503: SDKs try it again. A fault of this program is `ServerException` with 500;
the log has it under the request id that SDKs show.

## Signatures

With `auth`, each request is signed by one of the keys of `auth.access_keys` (Signature Version 4), in its header or, as a
presigned URL, in its query; or the connection shows a client certificate. Region and service of the signature are those
of the registry, STS also takes `us-east-1`. Clocks may be five minutes apart. The body is always signed
(`UNSIGNED-PAYLOAD` is refused), and so are Host and every `X-Amz-*` header but `X-Amz-User-Agent`. Session tokens are
unknown here: keys are permanent.

What fails has AWS's names: `MissingAuthenticationTokenException`, `IncompleteSignatureException`,
`UnrecognizedClientException`, `InvalidSignatureException` (its message says which: wrong secret, expired, not yet
current, other region, other service), `AccessDeniedException` and `ThrottlingException`, all with status 400; STS answers
its own: `MissingAuthenticationToken`, `InvalidClientTokenId` and `SignatureDoesNotMatch` with 403, `IncompleteSignature`
and `Throttling` with 400.

The column *needs* names the action that a policy must grant on the repositories that the request names; where it names
none, on all (`**`). Where a name stands for another repository (`docker-hub/nginx` for `docker-hub/library/nginx`), it
must be granted on both. *known* is open to whoever is known. A refusal is the same whether the repository exists or not.

A `registryId` other than the registry's own account is a registry that is not here: its repositories are not found, and
what concerns the registry itself is `InvalidParameterException`.

## Operations

* **acts**: does what ECR does, on the registry that clients pull from and push to.
* **kept**: is validated, stored and returned; nothing else follows from it.
* **refused**: answers `UnsupportedOperationException`, with a sentence that says what is not offered.
"""

STS = (
    "GetCallerIdentity",
    "The account is `registry.account_id`. With `auth` the caller is the user that owns the key, whose name `UserId` is; without, it is the account's root.",
)

SERVICES: Mapping[str, tuple[str, str, Mapping[str, Operation]]] = {
    "ecr": ("Amazon ECR", "", ecr.OPERATIONS),
    "secretsmanager": (
        "AWS Secrets Manager",
        "What keeps the credentials of cache rules. Secrets lie sealed in the registry's own store.",
        secretsmanager.OPERATIONS,
    ),
}


def models() -> Mapping[str, list[str]]:
    """Return the operations of the services' models, in order."""
    session = botocore.session.get_session()
    return {service: sorted(session.get_service_model(service).operation_names) for service in (*SERVICES, "sts")}


def needs(operation: Operation) -> str:
    """Return what a policy must grant for an operation."""
    return operation.action.value if operation.action is not None else "known"


def rows(service: str) -> list[tuple[str, str, str, str]]:
    """Return (operation, state, what it needs, differences) of every operation in the model of a service."""
    found = []
    for name in models()[service]:
        if service == "sts":
            offered, sentence = STS
            told = (State.ACTS, "known", sentence) if name == offered else (State.REFUSED, "known", "")
        else:
            operation = SERVICES[service][2].get(name)
            told = (State.REFUSED, "known", "")
            if operation is not None:
                told = operation.state, needs(operation), operation.differences
        state, need, differences = told
        found.append((f"`{name}`", state.value, need, differences or "-"))
    return found
