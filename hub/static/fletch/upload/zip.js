// Opens a plain zip in the browser, so that its files can be looked at and sent one by one. Whatever is not plain
// (encrypted, split, zip64, links, strange names) is left to the hub, which says what is wrong with it.
const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const END_SIZE = 22;
const LONGEST_COMMENT = 0xffff;
const LINK = 0xa000;

// The files of a zip as [{ path, file }]; throws where it is not plain, or holds more than `limits` allow.
export async function unzip(blob, limits) {
  const entries = await directory(blob, limits);
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  if (total > limits.bytes) throw new Error("too large");
  if (new Set(entries.map(({ path }) => path)).size !== entries.length) throw new Error("a name twice");
  return Promise.all(entries.map(async (entry) => ({ path: entry.path, file: await contents(blob, entry) })));
}

async function view(blob, from, to) {
  return new DataView(await blob.slice(from, to).arrayBuffer());
}

async function directory(blob, limits) {
  const from = Math.max(0, blob.size - END_SIZE - LONGEST_COMMENT);
  const tail = await view(blob, from, blob.size);
  let at = tail.byteLength - END_SIZE;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new Error("no end of a zip");
  const count = tail.getUint16(at + 10, true);
  const size = tail.getUint32(at + 12, true);
  const start = tail.getUint32(at + 16, true);
  if (tail.getUint16(at + 4, true) || count !== tail.getUint16(at + 8, true) || count > 4 * limits.members || start + size !== from + at) throw new Error("not plain");
  return entriesOf(await view(blob, start, start + size), count);
}

function entriesOf(table, count) {
  const found = [];
  let at = 0;
  for (let number = 0; number < count; number += 1) {
    if (table.getUint32(at, true) !== ENTRY) throw new Error("no entry");
    const [named, extra, comment] = [28, 30, 32].map((place) => table.getUint16(at + place, true));
    const path = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(table.buffer, table.byteOffset + at + 46, named));
    const entry = { path, flags: table.getUint16(at + 8, true), method: table.getUint16(at + 10, true), packed: table.getUint32(at + 20, true), size: table.getUint32(at + 24, true), place: table.getUint32(at + 42, true) };
    const mode = table.getUint16(at + 40, true);
    if (entry.flags & 1 || ![0, 8].includes(entry.method) || (mode & 0xf000) === LINK || !safe(path)) throw new Error("not plain");
    if (!path.endsWith("/")) found.push(entry);
    at += 46 + named + extra + comment;
  }
  return found;
}

function safe(path) {
  return !/[\\\0]|^\/|^[A-Za-z]:/.test(path) && !path.replace(/\/$/, "").split("/").some((part) => ["", ".", ".."].includes(part));
}

async function contents(blob, { method, packed, size, place }) {
  const local = await view(blob, place, place + 30);
  if (local.getUint32(0, true) !== LOCAL) throw new Error("no file there");
  const start = place + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const bytes = blob.slice(start, start + packed);
  const whole = method === 0 ? bytes : await new Response(bytes.stream().pipeThrough(new DecompressionStream("deflate-raw")).pipeThrough(atMost(size))).blob();
  if (whole.size !== size) throw new Error("another size than was said");
  return whole;
}

// Stops what grows beyond what its entry said.
function atMost(size) {
  let seen = 0;
  return new TransformStream({
    transform(chunk, controller) {
      seen += chunk.byteLength;
      if (seen > size) controller.error(new Error("more than was said"));
      else controller.enqueue(chunk);
    },
  });
}
