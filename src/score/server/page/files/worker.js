// Digests of ranges of a file, in the order in which they are asked for, with a few MiB of it in memory.

import { Md5 } from "./md5.js";

const PIECE = 4 * 1024 * 1024;

onmessage = async ({ data: { file, ranges } }) => {
  try {
    for (const [number, [offset, size]] of ranges.entries()) {
      const md5 = new Md5();
      const end = offset + size;
      const read = (from) => (from < end ? file.slice(from, Math.min(from + PIECE, end)).arrayBuffer() : null);
      let next = read(offset);
      for (let at = offset; at < end; at += PIECE) {
        const piece = await next;
        next = read(at + PIECE);
        if (piece.byteLength !== Math.min(PIECE, end - at)) throw new Error("The file has become shorter.");
        md5.update(new Uint8Array(piece));
        postMessage({ hashed: piece.byteLength });
      }
      postMessage({ number, md5: md5.hex() });
    }
  } catch (error) {
    postMessage({ error: `${error.name}: ${error.message}` });
  }
};
