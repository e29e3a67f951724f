"""Parts of files of reads and variants, without the rest: regions, headers, other formats.

The index says which bytes hold a region; these are fetched, put together to a small file of the same format, and
read by htslib (pysam) from a pipe, in order. So htslib never sees an address, and no index but the one that belongs
to the file. Needs the extra ``slicing``.
"""
