"""Who may do what: callers, grants, policies, and the decision."""
