# What teams declare of a registry: rules with their secrets, repositories with their policies, a creation template.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "endpoint" { type = string }
variable "region" { type = string }
variable "accounts" { type = map(object({ username = string, accessToken = string })) }
variable "used_account" { type = string }
variable "mutability" { type = string }
variable "scan_on_push" { type = bool }
variable "kept_images" { type = number }
variable "resource_tags" { type = map(string) }
variable "description" { type = string }
variable "actions" { type = list(string) }

# No skip_* flags: who one is, the provider asks STS.
provider "aws" {
  region     = var.region
  access_key = "any"
  secret_key = "any"
  endpoints {
    ecr            = var.endpoint
    secretsmanager = var.endpoint
    sts            = var.endpoint
  }
}

data "aws_caller_identity" "me" {}
data "aws_ecr_authorization_token" "password" {}

resource "aws_secretsmanager_secret" "account" {
  for_each                = var.accounts
  name                    = "ecr-pullthroughcache/${each.key}"
  description             = "an account at Docker Hub"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "account" {
  for_each      = var.accounts
  secret_id     = aws_secretsmanager_secret.account[each.key].id
  secret_string = jsonencode(each.value)
}

resource "aws_ecr_pull_through_cache_rule" "hub" {
  ecr_repository_prefix = "docker-hub"
  upstream_registry_url = "registry-1.docker.io"
  credential_arn        = aws_secretsmanager_secret.account[var.used_account].arn
}

resource "aws_ecr_pull_through_cache_rule" "quay" {
  ecr_repository_prefix = "quay"
  upstream_registry_url = "quay.io"
}

resource "aws_ecr_repository" "app" {
  name                 = "team/app"
  image_tag_mutability = var.mutability
  force_delete         = true
  tags                 = var.resource_tags

  image_scanning_configuration {
    scan_on_push = var.scan_on_push
  }
}

# Below a rule's prefix, declared before the first pull.
resource "aws_ecr_repository" "cached" {
  name         = "quay/org/declared"
  force_delete = true
}

resource "aws_ecr_lifecycle_policy" "cached" {
  repository = aws_ecr_repository.cached.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "keep what is new"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.kept_images }
      action       = { type = "expire" }
    }]
  })
}

locals {
  statement = {
    Sid       = "pull"
    Effect    = "Allow"
    Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
    Action    = var.actions
  }
}

resource "aws_ecr_repository_policy" "app" {
  repository = aws_ecr_repository.app.name
  policy     = jsonencode({ Version = "2012-10-17", Statement = [local.statement] })
}

resource "aws_ecr_registry_policy" "all" {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(local.statement, {
      Action   = concat(["ecr:CreateRepository"], var.actions)
      Resource = ["arn:aws:ecr:${var.region}:${data.aws_caller_identity.me.account_id}:repository/quay/*"]
    })]
  })
}

resource "aws_ecr_repository_creation_template" "pulls" {
  prefix               = "docker-hub"
  description          = var.description
  applied_for          = ["PULL_THROUGH_CACHE"]
  image_tag_mutability = var.mutability
  resource_tags        = var.resource_tags
}

data "aws_ecr_repository" "app" {
  name = aws_ecr_repository.app.name
}

data "aws_ecr_pull_through_cache_rule" "hub" {
  ecr_repository_prefix = aws_ecr_pull_through_cache_rule.hub.ecr_repository_prefix
}

output "account" { value = data.aws_caller_identity.me.account_id }
output "user" { value = data.aws_ecr_authorization_token.password.user_name }
output "proxy" { value = data.aws_ecr_authorization_token.password.proxy_endpoint }
output "uri" { value = data.aws_ecr_repository.app.repository_url }
output "mutability" { value = data.aws_ecr_repository.app.image_tag_mutability }
output "upstream" { value = data.aws_ecr_pull_through_cache_rule.hub.upstream_registry_url }
output "credential" { value = data.aws_ecr_pull_through_cache_rule.hub.credential_arn }
output "secrets" { value = { for name, secret in aws_secretsmanager_secret.account : name => secret.arn } }
