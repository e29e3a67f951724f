"""HTTP only: routes, errors as statuses, settings, the data plane of the local store."""
