"""htsget 1.3: regions of reads and variants as tickets, which say where their bytes are. Without HTTP.

A ticket is made of spans of the stored object, which the caller fetches from the store, and of small pieces inside
the ticket itself: header, end of file, and the parts of blocks at the edges of a region.
https://samtools.github.io/hts-specs/htsget.html
"""
