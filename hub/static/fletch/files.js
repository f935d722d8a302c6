// Files as they come out of a drop, folders walked, and sizes in words.
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];
const LITTER = /(^|\/)(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|__MACOSX\/.*|\.git\/.*)$/;

export function size(bytes) {
  let unit = 0;
  let amount = bytes;
  while (amount >= 1024 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(amount)} bytes` : `${amount.toFixed(1)} ${UNITS[unit]}`;
}

// Without what operating systems leave behind, and as seen from the one folder that holds them all, if one does.
export function tidied(files) {
  const kept = files.filter(({ path }) => !LITTER.test(path));
  const heads = new Set(kept.map(({ path }) => path.split("/")[0]));
  if (heads.size !== 1 || !kept.every(({ path }) => path.includes("/"))) return kept;
  return kept.map(({ path, file }) => ({ path: path.slice(path.indexOf("/") + 1), file }));
}

// The entries must be taken before the first await: the browser empties the list after the event.
export async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...transfer.files].map((file) => ({ path: file.name, file }));
  return (await Promise.all(entries.map((entry) => walk(entry, "")))).flat();
}

async function walk(entry, under) {
  const path = under + entry.name;
  if (entry.isFile) {
    const file = await new Promise((done, refuse) => entry.file(done, refuse));
    return [{ path, file }];
  }
  const inside = await children(entry.createReader());
  return (await Promise.all(inside.map((child) => walk(child, `${path}/`)))).flat();
}

// A reader gives at most a hundred entries a time.
async function children(reader) {
  const some = await new Promise((done, refuse) => reader.readEntries(done, refuse));
  return some.length ? [...some, ...(await children(reader))] : [];
}
