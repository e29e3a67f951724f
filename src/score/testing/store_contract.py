"""What every object store must do: one suite for all of them.

A store is tested by a subclass that gives four things::

    class TestMyStore(StoreContract):
        @pytest.fixture(scope="class")
        @classmethod
        def store(cls, run: Run) -> Iterator[ObjectStore]: ...         # an empty bucket; closed afterwards by run()
        @pytest.fixture(scope="class")
        @classmethod
        def late_store(cls, store: ObjectStore) -> ObjectStore: ...    # the same bucket, clock ten minutes slow
        @pytest.fixture(scope="class")
        @classmethod
        def aside(cls, store: ObjectStore) -> Aside: ...               # the same bucket, past the code under test

Signed URLs are called with urllib3, as a client does, on whatever host they name. A store that serves its URLs itself
has to do so from another thread: the tests block the one they run in. The event loop of ``run`` is the same for all
tests of a class and runs only within ``run``. Nothing here waits, and no two tests share a key.
"""

from __future__ import annotations

from score.testing.store_ground import MINUTE, Aside, Run, Web, collect, md5, plan
from score.testing.store_objects import ObjectContract
from score.testing.store_uploads import UploadContract

__all__ = ["MINUTE", "Aside", "Run", "StoreContract", "Web", "collect", "md5", "plan"]


class StoreContract(ObjectContract, UploadContract):
    """The suite."""
