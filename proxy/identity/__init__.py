"""Those who can be known: password files, access keys, identity providers."""
