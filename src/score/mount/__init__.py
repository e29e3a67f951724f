"""Objects as files of the system: a read-only file system in user space (FUSE).

``index`` keeps the list of files, ``repository`` fills it from the metadata service, ``tree`` is the file
system's calls without FUSE, ``fuse`` runs them on libfuse3. Only ``fuse`` needs the extra ``[mount]``.
"""
