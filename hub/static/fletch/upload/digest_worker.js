// Reads a file a piece at a time and says its SHA-256, away from the thread that draws the page.
import { Sha256 } from "./sha256.js";

const PIECE = 4 * 2 ** 20;

self.addEventListener("message", async ({ data: { id, file } }) => {
  try {
    const sum = new Sha256();
    for (let at = 0; at < file.size; at += PIECE) {
      sum.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()));
      self.postMessage({ id, done: Math.min(at + PIECE, file.size) });
    }
    self.postMessage({ id, sha256: sum.digest() });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message || error) });
  }
});
