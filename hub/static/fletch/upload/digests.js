// Digests of files, each computed once however often it is asked for.
const known = new WeakMap(); // File -> promise of its digest
const asked = new Map(); // id -> what waits for the worker
let worker;
let last = 0;

// `progress` hears how many bytes of the file were read.
export function digestOf(file, progress = () => {}) {
  if (!known.has(file)) known.set(file, compute(file, progress));
  return known.get(file);
}

function compute(file, progress) {
  worker ??= started();
  last += 1;
  return new Promise((done, refuse) => {
    asked.set(last, { done, refuse, progress });
    worker.postMessage({ id: last, file });
  });
}

function started() {
  const made = new Worker(new URL("./digest_worker.js", import.meta.url), { type: "module" });
  made.addEventListener("message", ({ data }) => {
    const { done, refuse, progress } = asked.get(data.id);
    if (data.done !== undefined) return progress(data.done);
    asked.delete(data.id);
    if (data.error) refuse(new Error(`A file could not be read: ${data.error}. Choose it again.`));
    else done(data.sha256);
  });
  return made;
}
