"""The errors of the AWS APIs, under AWS's names: one table for ECR, Secrets Manager and STS."""

from collections.abc import Mapping
from enum import Enum


class ApiErrorCode(Enum):
    """Exceptions by the name that goes into ``__type``: HTTP status and default sentence."""

    # What every service answers.
    SerializationException = (400, "the body is not a JSON object of this operation's shape")
    UnknownOperationException = (400, "there is no such operation")
    UnsupportedOperationException = (400, "this registry does not offer the operation")
    InternalFailure = (500, "an internal error; the log of the server tells more")
    ServiceUnavailable = (
        503,
        "the registry cannot keep this now: its disk is full, its store is locked, or it ends",
    )

    # Who calls, and whether that is permitted: what every service that speaks JSON answers.
    AccessDeniedException = (400, "The caller is not authorized to perform the operation.")
    IncompleteSignatureException = (400, "The request signature does not conform to AWS standards.")
    InvalidSignatureException = (
        400,
        (
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        ),
    )
    MissingAuthenticationTokenException = (400, "Missing Authentication Token")
    ThrottlingException = (400, "Rate exceeded")
    UnrecognizedClientException = (400, "The security token included in the request is invalid.")

    # The same, as STS answers it.
    AccessDenied = (403, "The caller is not authorized to perform the operation.")
    IncompleteSignature = (400, "The request signature does not conform to the standards of AWS.")
    InvalidClientTokenId = (403, "The security token included in the request is invalid.")
    MissingAuthenticationToken = (403, "Request is missing Authentication Token")
    SignatureDoesNotMatch = (403, "The request signature we calculated does not match the signature you provided.")
    Throttling = (400, "The rate is exceeded.")

    # Amazon ECR.
    EmptyUploadException = (400, "The specified layer upload does not contain any layer parts.")
    ImageAlreadyExistsException = (400, "The specified image has already been pushed, and there were no changes to it.")
    ImageDigestDoesNotMatchException = (400, "The specified image digest does not match the digest of the manifest.")
    ImageNotFoundException = (400, "The image requested does not exist in the specified repository.")
    ImageTagAlreadyExistsException = (400, "The specified image is tagged with a tag that already exists.")
    InvalidLayerException = (400, "The layer digest calculation does not match the specified layer digest.")
    InvalidLayerPartException = (400, "The layer part size is not valid, or its first byte is not the next one.")
    InvalidParameterException = (400, "The specified parameter is invalid.")
    InvalidTagParameterException = (400, "An invalid parameter has been specified.")
    LayerAlreadyExistsException = (400, "The image layer already exists in the associated repository.")
    LayerInaccessibleException = (400, "The specified layer is not available.")
    LayerPartTooSmallException = (400, "Layer parts must be at least 5 MiB in size.")
    LayersNotFoundException = (400, "The specified layers could not be found, or are not valid for this repository.")
    LifecyclePolicyNotFoundException = (400, "The lifecycle policy could not be found.")
    LifecyclePolicyPreviewInProgressException = (400, "The previous lifecycle policy preview has not completed.")
    LifecyclePolicyPreviewNotFoundException = (400, "There is no dry run for this repository.")
    LimitExceededException = (400, "The operation would have exceeded a limit of the registry.")
    PullThroughCacheRuleAlreadyExistsException = (
        400,
        "A pull through cache rule with these settings already exists for the private registry.",
    )
    PullThroughCacheRuleNotFoundException = (
        400,
        "The pull through cache rule was not found. Specify a valid pull through cache rule and try again.",
    )
    ReferencedImagesNotFoundException = (400, "The manifest list refers to images that are not in the repository.")
    RegistryPolicyNotFoundException = (400, "The registry doesn't have an associated registry policy.")
    RepositoryAlreadyExistsException = (400, "The specified repository already exists in the specified registry.")
    RepositoryNotEmptyException = (400, "The specified repository contains images.")
    RepositoryNotFoundException = (400, "The specified repository could not be found.")
    RepositoryPolicyNotFoundException = (400, "The repository doesn't have an associated repository policy.")
    SecretNotFoundException = (
        400,
        (
            "The ARN of the secret specified in the pull through cache rule was not found. Update the pull through "
            "cache rule with a valid secret ARN and try again."
        ),
    )
    ServerException = (500, "These errors are usually caused by a server-side issue.")
    TemplateAlreadyExistsException = (
        400,
        "The repository creation template already exists. Specify a unique prefix and try again.",
    )
    TemplateNotFoundException = (
        400,
        "The specified repository creation template can't be found. Verify the registry ID and prefix and try again.",
    )
    TooManyTagsException = (400, "The list of tags on the repository is over the limit of 50 tags.")
    UnableToAccessSecretException = (
        400,
        "The secret is unable to be accessed. Verify the resource permissions for the secret and try again.",
    )
    UnableToDecryptSecretValueException = (
        400,
        # The spelling is AWS's own.
        "The secret is accessible but is unable to be decrypted. Verify the resource permisisons and try again.",
    )
    UnableToGetUpstreamImageException = (400, "The image was unable to be pulled using the pull through cache rule.")
    UnableToGetUpstreamLayerException = (400, "There was an issue getting the upstream layer.")
    UnableToListUpstreamImageReferrersException = (400, "The referrers of the upstream image could not be listed.")
    UnsupportedUpstreamRegistryException = (400, "The specified upstream registry isn't supported.")
    UploadNotFoundException = (400, "The upload could not be found, or the specified upload ID is not valid.")
    ValidationException = (400, "There was an exception validating this request.")

    # AWS Secrets Manager.
    InternalServiceError = (500, "An error occurred on the server side.")
    DecryptionFailure = (400, "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
    InvalidNextTokenException = (400, "The NextToken value is invalid.")
    InvalidRequestException = (400, "The request is not valid for the current state of the secret.")
    MalformedPolicyDocumentException = (400, "The resource policy has syntax errors.")
    ResourceExistsException = (400, "A secret with this name already exists.")
    ResourceNotFoundException = (400, "Secrets Manager can't find the specified secret.")

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status and the default sentence."""
        self.status = status
        self.message = message


class ApiError(Exception):
    """A failure that a client of an AWS API is told about; `message` is public, `debug` for the log only.

    `members` are what the exception has beside its message, by the names of the service's model.
    """

    def __init__(
        self,
        code: ApiErrorCode,
        message: str | None = None,
        *,
        debug: str | None = None,
        members: Mapping[str, str | int] | None = None,
    ) -> None:
        """Keep the public and the private half of the failure."""
        super().__init__(message or code.message)
        self.code = code
        self.message = message or code.message
        self.debug = debug
        self.members = dict(members or {})


def invalid(member: str, constraint: str) -> ApiError:
    """Return ECR's refusal of a parameter: it names the member and the constraint that it fails."""
    return ApiError(
        ApiErrorCode.InvalidParameterException,
        f"Invalid parameter at '{member}' failed to satisfy constraint: '{constraint}'",
    )
