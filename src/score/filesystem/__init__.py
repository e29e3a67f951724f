"""Objects for every program that reads by fsspec: pandas, pyarrow, Dask, xarray. The extra ``[fsspec]``.

fsspec finds it under ``score://`` by its entry point; see :class:`score.filesystem.system.ScoreFileSystem`.
"""

from score.filesystem.file import ScoreFile
from score.filesystem.system import ScoreFileSystem

__all__ = ["ScoreFile", "ScoreFileSystem"]
