"""Random access to remote objects, for mounting, slicing and programs: no byte is fetched that nobody asked for or is
about to ask for, and none twice while the cache holds it.

::

    shared = Shared(engine)                       # threads and cache of all objects of a client
    with RemoteObject(shared, source) as remote:  # ``source`` gives specification and URLs, see :class:`Source`
        remote.read_at(offset, length)            # from any number of threads
        file = RemoteFile(remote)                 # or as a file: seek, read, readinto, readline

The package knows no client and no command.
"""

from score.reading.file import RemoteFile
from score.reading.remote import RemoteObject
from score.reading.shared import Shared, Source

__all__ = ["RemoteFile", "RemoteObject", "Shared", "Source"]
