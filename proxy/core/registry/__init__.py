"""The registry as its administrators see it: rules, repositories, images, policies, templates and secrets."""
