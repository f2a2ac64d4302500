"""Values of the field: digests, references, descriptors, manifests, cache rules and the error table."""
