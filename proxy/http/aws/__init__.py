"""The AWS APIs on the registry's own port: ECR, a part of Secrets Manager, and STS."""
