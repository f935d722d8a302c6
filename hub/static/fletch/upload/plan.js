// What is to be sent: every file by its digest, which is computed by now or is waited for here.
import { digestOf } from "./digests.js";

const README = /^readme\.md$/i;

// { plan, blobs }: what the hub is told, and the bytes by digest. `card` takes the place of a README.md.
export async function planOf(form, { files, card, rows, library, owner }, figures) {
  const tree = new Map([...files].filter(([path]) => !(card && README.test(path))));
  if (card) tree.set("README.md", card);
  const all = [...tree.values(), ...(rows ? [rows] : [])];
  const total = all.reduce((sum, file) => sum + file.size, 0);
  const blobs = new Map();
  let before = 0;
  const planned = async (path, file) => {
    figures.reading(before, total);
    const sha256 = await digestOf(file, (done) => figures.reading(before + done, total));
    before += file.size;
    blobs.set(sha256, file);
    return { path, sha256, size: file.size };
  };
  const listed = [];
  for (const [path, file] of tree) listed.push(await planned(path, file)); // one after the other, as the worker reads them
  const given = rows ? await planned(rows.name, rows) : null;
  const { name, message, private: hidden } = form.elements;
  return { blobs, plan: { library, owner, name: name.value.trim(), message: message.value, private: hidden.checked, files: listed, rows: given } };
}
