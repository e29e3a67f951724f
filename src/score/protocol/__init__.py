"""The Score v1 wire contract, shared by server and client: models, part arithmetic, ids, digests.

Everything here is pure: values in, values out.
"""
