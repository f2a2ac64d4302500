"""Policies of IAM, as far as those of ECR repositories and of the registry need them."""
