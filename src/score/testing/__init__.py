"""The test kit, shipped so that others can hold their stores, servers and clients to the same suites.

Nothing here is imported by the server, the client or the SDK.
"""
