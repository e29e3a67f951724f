"""The object store on a local disk, served by the server itself."""

from score.storage.local.store import LocalStore

__all__ = ["LocalStore"]
