// MD5 (RFC 1321), piece by piece. The 64 steps are written out, which is several times as fast as a loop.

const BLOCK = 64;
const LITTLE = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

export class Md5 {
  #state = new Int32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476]);
  #rest = new Uint8Array(BLOCK);
  #kept = 0;
  #length = 0;

  /** Take the next bytes. */
  update(bytes) {
    this.#length += bytes.length;
    let at = 0;
    if (this.#kept) {
      at = Math.min(BLOCK - this.#kept, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#kept);
      this.#kept += at;
      if (this.#kept < BLOCK) return this;
      this.#mix(wordsOf(this.#rest));
      this.#kept = 0;
    }
    const end = at + Math.floor((bytes.length - at) / BLOCK) * BLOCK;
    if (end > at) this.#mix(wordsOf(bytes.subarray(at, end)));
    this.#kept = bytes.length - end;
    this.#rest.set(bytes.subarray(end));
    return this;
  }

  /** The digest of all bytes so far, in hex; nothing can follow. */
  hex() {
    const bits = this.#length * 8;
    const end = new Uint8Array(this.#kept < 56 ? BLOCK : 2 * BLOCK);
    end.set(this.#rest.subarray(0, this.#kept));
    end[this.#kept] = 0x80;
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, bits % 2 ** 32, true);
    view.setUint32(end.length - 4, Math.floor(bits / 2 ** 32), true);
    this.#mix(wordsOf(end));
    const digest = new DataView(new ArrayBuffer(16));
    this.#state.forEach((word, number) => digest.setInt32(4 * number, word, true));
    return [...new Uint8Array(digest.buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  #mix(words) {
    let [a, b, c, d] = this.#state;
    for (let at = 0; at < words.length; at += 16) {
      const [a0, b0, c0, d0] = [a, b, c, d];
      a = (a + (((c ^ d) & b) ^ d) + words[at] - 680876936) | 0;
      a = (((a << 7) | (a >>> 25)) + b) | 0;
      d = (d + (((b ^ c) & a) ^ c) + words[at + 1] - 389564586) | 0;
      d = (((d << 12) | (d >>> 20)) + a) | 0;
      c = (c + (((a ^ b) & d) ^ b) + words[at + 2] + 606105819) | 0;
      c = (((c << 17) | (c >>> 15)) + d) | 0;
      b = (b + (((d ^ a) & c) ^ a) + words[at + 3] - 1044525330) | 0;
      b = (((b << 22) | (b >>> 10)) + c) | 0;
      a = (a + (((c ^ d) & b) ^ d) + words[at + 4] - 176418897) | 0;
      a = (((a << 7) | (a >>> 25)) + b) | 0;
      d = (d + (((b ^ c) & a) ^ c) + words[at + 5] + 1200080426) | 0;
      d = (((d << 12) | (d >>> 20)) + a) | 0;
      c = (c + (((a ^ b) & d) ^ b) + words[at + 6] - 1473231341) | 0;
      c = (((c << 17) | (c >>> 15)) + d) | 0;
      b = (b + (((d ^ a) & c) ^ a) + words[at + 7] - 45705983) | 0;
      b = (((b << 22) | (b >>> 10)) + c) | 0;
      a = (a + (((c ^ d) & b) ^ d) + words[at + 8] + 1770035416) | 0;
      a = (((a << 7) | (a >>> 25)) + b) | 0;
      d = (d + (((b ^ c) & a) ^ c) + words[at + 9] - 1958414417) | 0;
      d = (((d << 12) | (d >>> 20)) + a) | 0;
      c = (c + (((a ^ b) & d) ^ b) + words[at + 10] - 42063) | 0;
      c = (((c << 17) | (c >>> 15)) + d) | 0;
      b = (b + (((d ^ a) & c) ^ a) + words[at + 11] - 1990404162) | 0;
      b = (((b << 22) | (b >>> 10)) + c) | 0;
      a = (a + (((c ^ d) & b) ^ d) + words[at + 12] + 1804603682) | 0;
      a = (((a << 7) | (a >>> 25)) + b) | 0;
      d = (d + (((b ^ c) & a) ^ c) + words[at + 13] - 40341101) | 0;
      d = (((d << 12) | (d >>> 20)) + a) | 0;
      c = (c + (((a ^ b) & d) ^ b) + words[at + 14] - 1502002290) | 0;
      c = (((c << 17) | (c >>> 15)) + d) | 0;
      b = (b + (((d ^ a) & c) ^ a) + words[at + 15] + 1236535329) | 0;
      b = (((b << 22) | (b >>> 10)) + c) | 0;
      a = (a + (((b ^ c) & d) ^ c) + words[at + 1] - 165796510) | 0;
      a = (((a << 5) | (a >>> 27)) + b) | 0;
      d = (d + (((a ^ b) & c) ^ b) + words[at + 6] - 1069501632) | 0;
      d = (((d << 9) | (d >>> 23)) + a) | 0;
      c = (c + (((d ^ a) & b) ^ a) + words[at + 11] + 643717713) | 0;
      c = (((c << 14) | (c >>> 18)) + d) | 0;
      b = (b + (((c ^ d) & a) ^ d) + words[at] - 373897302) | 0;
      b = (((b << 20) | (b >>> 12)) + c) | 0;
      a = (a + (((b ^ c) & d) ^ c) + words[at + 5] - 701558691) | 0;
      a = (((a << 5) | (a >>> 27)) + b) | 0;
      d = (d + (((a ^ b) & c) ^ b) + words[at + 10] + 38016083) | 0;
      d = (((d << 9) | (d >>> 23)) + a) | 0;
      c = (c + (((d ^ a) & b) ^ a) + words[at + 15] - 660478335) | 0;
      c = (((c << 14) | (c >>> 18)) + d) | 0;
      b = (b + (((c ^ d) & a) ^ d) + words[at + 4] - 405537848) | 0;
      b = (((b << 20) | (b >>> 12)) + c) | 0;
      a = (a + (((b ^ c) & d) ^ c) + words[at + 9] + 568446438) | 0;
      a = (((a << 5) | (a >>> 27)) + b) | 0;
      d = (d + (((a ^ b) & c) ^ b) + words[at + 14] - 1019803690) | 0;
      d = (((d << 9) | (d >>> 23)) + a) | 0;
      c = (c + (((d ^ a) & b) ^ a) + words[at + 3] - 187363961) | 0;
      c = (((c << 14) | (c >>> 18)) + d) | 0;
      b = (b + (((c ^ d) & a) ^ d) + words[at + 8] + 1163531501) | 0;
      b = (((b << 20) | (b >>> 12)) + c) | 0;
      a = (a + (((b ^ c) & d) ^ c) + words[at + 13] - 1444681467) | 0;
      a = (((a << 5) | (a >>> 27)) + b) | 0;
      d = (d + (((a ^ b) & c) ^ b) + words[at + 2] - 51403784) | 0;
      d = (((d << 9) | (d >>> 23)) + a) | 0;
      c = (c + (((d ^ a) & b) ^ a) + words[at + 7] + 1735328473) | 0;
      c = (((c << 14) | (c >>> 18)) + d) | 0;
      b = (b + (((c ^ d) & a) ^ d) + words[at + 12] - 1926607734) | 0;
      b = (((b << 20) | (b >>> 12)) + c) | 0;
      a = (a + (b ^ c ^ d) + words[at + 5] - 378558) | 0;
      a = (((a << 4) | (a >>> 28)) + b) | 0;
      d = (d + (a ^ b ^ c) + words[at + 8] - 2022574463) | 0;
      d = (((d << 11) | (d >>> 21)) + a) | 0;
      c = (c + (d ^ a ^ b) + words[at + 11] + 1839030562) | 0;
      c = (((c << 16) | (c >>> 16)) + d) | 0;
      b = (b + (c ^ d ^ a) + words[at + 14] - 35309556) | 0;
      b = (((b << 23) | (b >>> 9)) + c) | 0;
      a = (a + (b ^ c ^ d) + words[at + 1] - 1530992060) | 0;
      a = (((a << 4) | (a >>> 28)) + b) | 0;
      d = (d + (a ^ b ^ c) + words[at + 4] + 1272893353) | 0;
      d = (((d << 11) | (d >>> 21)) + a) | 0;
      c = (c + (d ^ a ^ b) + words[at + 7] - 155497632) | 0;
      c = (((c << 16) | (c >>> 16)) + d) | 0;
      b = (b + (c ^ d ^ a) + words[at + 10] - 1094730640) | 0;
      b = (((b << 23) | (b >>> 9)) + c) | 0;
      a = (a + (b ^ c ^ d) + words[at + 13] + 681279174) | 0;
      a = (((a << 4) | (a >>> 28)) + b) | 0;
      d = (d + (a ^ b ^ c) + words[at] - 358537222) | 0;
      d = (((d << 11) | (d >>> 21)) + a) | 0;
      c = (c + (d ^ a ^ b) + words[at + 3] - 722521979) | 0;
      c = (((c << 16) | (c >>> 16)) + d) | 0;
      b = (b + (c ^ d ^ a) + words[at + 6] + 76029189) | 0;
      b = (((b << 23) | (b >>> 9)) + c) | 0;
      a = (a + (b ^ c ^ d) + words[at + 9] - 640364487) | 0;
      a = (((a << 4) | (a >>> 28)) + b) | 0;
      d = (d + (a ^ b ^ c) + words[at + 12] - 421815835) | 0;
      d = (((d << 11) | (d >>> 21)) + a) | 0;
      c = (c + (d ^ a ^ b) + words[at + 15] + 530742520) | 0;
      c = (((c << 16) | (c >>> 16)) + d) | 0;
      b = (b + (c ^ d ^ a) + words[at + 2] - 995338651) | 0;
      b = (((b << 23) | (b >>> 9)) + c) | 0;
      a = (a + (c ^ (b | ~d)) + words[at] - 198630844) | 0;
      a = (((a << 6) | (a >>> 26)) + b) | 0;
      d = (d + (b ^ (a | ~c)) + words[at + 7] + 1126891415) | 0;
      d = (((d << 10) | (d >>> 22)) + a) | 0;
      c = (c + (a ^ (d | ~b)) + words[at + 14] - 1416354905) | 0;
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      b = (b + (d ^ (c | ~a)) + words[at + 5] - 57434055) | 0;
      b = (((b << 21) | (b >>> 11)) + c) | 0;
      a = (a + (c ^ (b | ~d)) + words[at + 12] + 1700485571) | 0;
      a = (((a << 6) | (a >>> 26)) + b) | 0;
      d = (d + (b ^ (a | ~c)) + words[at + 3] - 1894986606) | 0;
      d = (((d << 10) | (d >>> 22)) + a) | 0;
      c = (c + (a ^ (d | ~b)) + words[at + 10] - 1051523) | 0;
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      b = (b + (d ^ (c | ~a)) + words[at + 1] - 2054922799) | 0;
      b = (((b << 21) | (b >>> 11)) + c) | 0;
      a = (a + (c ^ (b | ~d)) + words[at + 8] + 1873313359) | 0;
      a = (((a << 6) | (a >>> 26)) + b) | 0;
      d = (d + (b ^ (a | ~c)) + words[at + 15] - 30611744) | 0;
      d = (((d << 10) | (d >>> 22)) + a) | 0;
      c = (c + (a ^ (d | ~b)) + words[at + 6] - 1560198380) | 0;
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      b = (b + (d ^ (c | ~a)) + words[at + 13] + 1309151649) | 0;
      b = (((b << 21) | (b >>> 11)) + c) | 0;
      a = (a + (c ^ (b | ~d)) + words[at + 4] - 145523070) | 0;
      a = (((a << 6) | (a >>> 26)) + b) | 0;
      d = (d + (b ^ (a | ~c)) + words[at + 11] - 1120210379) | 0;
      d = (((d << 10) | (d >>> 22)) + a) | 0;
      c = (c + (a ^ (d | ~b)) + words[at + 2] + 718787259) | 0;
      c = (((c << 15) | (c >>> 17)) + d) | 0;
      b = (b + (d ^ (c | ~a)) + words[at + 9] - 343485551) | 0;
      b = (((b << 21) | (b >>> 11)) + c) | 0;
      a = (a + a0) | 0;
      b = (b + b0) | 0;
      c = (c + c0) | 0;
      d = (d + d0) | 0;
    }
    this.#state.set([a, b, c, d]);
  }
}

/** Whole blocks as words of the little end; without a copy where they lie well. */
function wordsOf(bytes) {
  if (LITTLE && bytes.byteOffset % 4 === 0) return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Int32Array.from({ length: bytes.length / 4 }, (_, number) => view.getInt32(4 * number, true));
}
