"""Files of reads and variants, and their indexes: from bytes to byte spans. Pure: nothing here reads a file.

Specifications: SAM v1 (BAM, BGZF, BAI), CRAM v2.1 and v3, VCF v4, tabix (TBI), CSI v1. Coordinates count from 0, and
ranges exclude their end. A *pointer* is a virtual offset of BGZF: the offset of a block in the file, shifted left by
16 bits, plus the offset of a byte within the data of that block.
"""
