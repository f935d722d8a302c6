// Fix and try again: files that were chosen go in pieces, each from where the hub has it; the rest of the form follows.
// Without this the form is sent like any other, files and all.
import { digestOf } from "./upload/digests.js";
import { Figures } from "./upload/figures.js";
import { listOf } from "./upload/findings.js";
import { postWhole } from "./upload/hub.js";
import { guard, pausing } from "./upload/leaving.js";
import { Sending } from "./upload/sending.js";

const form = document.querySelector("form[data-mend]");
const refusals = document.querySelector("[data-refusals]");
const send = form.querySelector("[data-send]");
const pause = form.querySelector("[data-pause]");
const figures = new Figures(form);
let under = null; // what is being sent

// [name of the field, path in the release, File] of everything that was chosen.
function chosen() {
  const inputs = [...form.querySelectorAll("input[type=file]")];
  return inputs.flatMap((input) => [...input.files].map((file) => [input.name, input.dataset.path ?? file.name, file]));
}

form.addEventListener("submit", async (event) => {
  if (!chosen().length) return; // a small form, sent as it is
  event.preventDefault();
  if (under || send.disabled) return;
  refusals.replaceChildren();
  send.disabled = true;
  guard(true);
  try {
    const files = await read(chosen());
    under = new Sending(planOf(files), new Map(files.map(({ sha256, file }) => [sha256, file])), (now) => figures.sending(now), () => finish(files));
    pause.hidden = false;
    const where = await under.run();
    guard(false);
    location.assign(where);
  } catch (error) {
    failed(error);
  }
});

async function read(all) {
  const total = all.reduce((sum, [, , file]) => sum + file.size, 0);
  const found = [];
  let before = 0;
  for (const [field, path, file] of all) {
    figures.reading(before, total);
    const sha256 = await digestOf(file, (done) => figures.reading(before + done, total));
    before += file.size;
    found.push({ field, path, file, sha256 });
  }
  return found;
}

function planOf(files) {
  const planned = ({ path, sha256, file }) => ({ path, sha256, size: file.size });
  const rows = files.find(({ field }) => field === "samples");
  const { library, owner, name, mend } = form.dataset;
  return { library, owner, name, mends: mend, files: files.filter((one) => one !== rows).map(planned), rows: rows ? planned(rows) : null };
}

// The form as it is now, with digests in place of the files.
async function finish(files) {
  const said = new FormData(form);
  for (const { field, path, sha256 } of files) {
    said.delete(field);
    said.append(field.replace("file-", "sent-").replace(/^(added|samples)$/, "sent-$1"), sha256);
    if (field === "added") said.append("sent-name", path);
  }
  for (const [name, value] of [...said]) if (value instanceof File) said.delete(name); // fields where nothing was chosen
  return { url: await postWhole(location.pathname, said) };
}

function failed(error) {
  under = null;
  send.disabled = false;
  pause.hidden = true;
  guard(false);
  figures.end(error.message);
  const said = error.page?.querySelector("[data-refusals]")?.childNodes ?? [];
  if (said.length) refusals.replaceChildren(...said);
  else {
    const words = document.createElement("p");
    words.className = "errorlist";
    words.textContent = error.message;
    refusals.replaceChildren(words);
    if (error.findings?.length) refusals.append(listOf(error.findings));
  }
  refusals.focus();
}

pausing(pause, () => under);
