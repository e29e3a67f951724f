"""Authorization: who a token belongs to, and what its scopes allow."""
