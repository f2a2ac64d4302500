"""Trying a rule that is in force: first its secret, then its upstream."""

from proxy.core.registry.secrets.ports import SecretError
from proxy.core.registry.secrets.resolver import CODES, SecretResolver
from proxy.core.rules import RuleSet
from proxy.core.validation import RuleValidator
from proxy.model.credentials import SecretCredentials
from proxy.model.rule import CacheRule


class RuleProber:
    """The `Prober` port: what ECR's ValidatePullThroughCacheRule does."""

    def __init__(self, validator: RuleValidator, secrets: SecretResolver) -> None:
        self._validator = validator
        self._secrets = secrets

    async def failure_of(self, rules: RuleSet, rule: CacheRule) -> str | None:
        """Read the rule's secret anew and check its syntax, then log in at the upstream."""
        if isinstance(rule.credentials, SecretCredentials):
            secret = rule.credentials.arn
            self._secrets.forget(secret)
            try:
                await self._secrets.login(secret)
            except SecretError as error:
                code = CODES.get(error.failure)
                return f"{code.message} ({error.message})" if code is not None else error.message
        return (await self._validator.validate(rules, rule, None)).failure
