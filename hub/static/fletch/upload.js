// The upload page, step by step. The form works without any of this: then it is one page, and its files are sent whole.
import { size } from "./files.js";
import { Card } from "./upload/card.js";
import { Choosing } from "./upload/choosing.js";
import { digestOf } from "./upload/digests.js";
import { Figures } from "./upload/figures.js";
import { facts, listOf } from "./upload/findings.js";
import { ask } from "./upload/hub.js";
import { guard, pausing } from "./upload/leaving.js";
import { Libraries } from "./upload/libraries.js";
import { Looking } from "./upload/looking.js";
import { Owners } from "./upload/owners.js";
import { planOf } from "./upload/plan.js";
import { SampleRows } from "./upload/sample_rows.js";
import { Sending } from "./upload/sending.js";
import { Stepper } from "./upload/stepper.js";
import { forget, recall, remember } from "./upload/typed.js";
import { sendWhole } from "./upload/whole.js";

const form = document.querySelector("form[data-upload]");
const refusals = document.querySelector("[data-refusals]");
const send = form.querySelector("[data-send]");
const pause = form.querySelector("[data-pause]");
const stop = form.querySelector("[data-stop]");
const review = form.querySelector("[data-review]");
const limits = Object.fromEntries(["bytes", "members", "archive", "rows", "left"].map((name) => [name, Number(form.dataset[name])]));
const README = /^readme\.md$/i;
let stepper = null;
let under = null; // what is being sent
let readme; // the README.md that the card was taken from

form.classList.add("enhanced", "wizard");
form.noValidate = true; // a field of a step that is not shown cannot be pointed at
recall(form);

const owners = new Owners(form, weigh);
const choosing = new Choosing(form, limits, chose);
const libraries = new Libraries(form, () => looking.look());
const looking = new Looking(form.querySelector("[data-looked]"), { upload: () => choosing.files, library: () => libraries.chosen, looked });
const card = new Card(form, mark);
const rows = new SampleRows(form, looking.rules, libraries, mark);
const figures = new Figures(form);
stepper = new Stepper(form, entering);
remember(form);
form.addEventListener("input", mark);
weigh();

function chose() {
  looking.look();
  for (const file of choosing.files.values()) digestOf(file).catch(() => {}); // by the time of sending it is known
  const found = [...choosing.files].find(([path]) => README.test(path))?.[1];
  if (found !== readme) {
    readme = found;
    card.take(found);
  }
  mark();
}

// What may be kept is the owner's.
function weigh() {
  choosing.limits = { ...limits, left: owners.left ?? limits.left, whose: owners.organisation };
  choosing.draw();
}

function looked({ config }) {
  libraries.suggest(typeof config.document?.base_model_name_or_path === "string" ? config.document.base_model_name_or_path : "");
  mark();
}

function entering(step) {
  if (step === "rows") rows.enter();
  if (step === "send") summarise();
}

// What keeps this from being sent, each with the step where it is mended.
function problems() {
  const found = [];
  if (!choosing.all.size) found.push(["files", "Choose the files of your adapter."]);
  if (choosing.complaint()) found.push(["files", choosing.complaint()]);
  if (!libraries.chosen) found.push(["library", "Choose the library."]);
  if (!form.elements.name.value.trim()) found.push(["library", "Give it a name."]);
  return found;
}

function mark() {
  if (!stepper) return;
  const wrong = new Set(problems().map(([step]) => step));
  if (choosing.all.size) stepper.mark("files", wrong.has("files") || looking.errors ? "wrong" : "done");
  stepper.mark("library", libraries.chosen && form.elements.name.value.trim() ? "done" : "");
  stepper.mark("card", readme || card.written ? card.state : "");
  stepper.mark("rows", rows.file ? (rows.errors ? "wrong" : "done") : "");
  send.hidden = under !== null;
  send.disabled = Boolean(choosing.complaint()) || under !== null;
  send.lastChild.textContent = looking.errors || rows.errors ? " Send all the same" : " Send";
}

function summarise() {
  const checks = looking.errors ? `${looking.errors} to fix: the hub would refuse this` : choosing.archive ? "after it has arrived" : choosing.files.size ? "nothing is in the way" : "";
  review.replaceChildren(
    ...facts([
      ["Files", choosing.all.size ? `${choosing.all.size} ${choosing.all.size === 1 ? "file" : "files"}, ${size(choosing.total)}` : "none yet"],
      ["Library", libraries.name || "none yet"],
      ["Name", form.elements.name.value ? (owners.organisation ? `${owners.organisation}/` : "") + form.elements.name.value : "none yet"],
      ["Seen by", form.elements.private.checked ? (owners.organisation ? `everybody in ${owners.organisation} and who is invited` : "you and whom you invite") : "everybody"],
      ["Card", [card.written ? "as written here" : readme ? "README.md of the files" : "none", card.note.textContent].filter(Boolean).join("; ")],
      ["Sample rows", rows.words],
      ["Checks", checks],
    ]),
  );
  mark();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (stepper.steps[stepper.current].id !== "step-send") return stepper.go(stepper.current + 1);
  refusals.replaceChildren();
  const [first] = problems();
  if (first) {
    stepper.goTo(first[0]);
    return figures.say(first[1]), tell(first[1]);
  }
  return choosing.archive ? whole() : inPieces();
});

// Above the form, where it is read aloud.
function tell(words) {
  const said = document.createElement("p");
  said.className = "errorlist";
  said.textContent = words;
  refusals.replaceChildren(said);
}

async function inPieces() {
  begin();
  try {
    await card.settled();
    const { plan, blobs } = await planOf(form, { files: choosing.files, card: card.file, rows: rows.file, library: libraries.chosen, owner: owners.organisation }, figures);
    under = new Sending(plan, blobs, (now) => figures.sending(now));
    pause.hidden = false;
    arrived(await under.run());
  } catch (error) {
    failed(error);
  }
}

async function whole() {
  begin();
  const sending = sendWhole(form, choosing.archive, card.written, (received, total) => figures.sending({ state: received < total ? "sending" : "finishing", received, total }));
  stop.hidden = false;
  stop.onclick = sending.stop;
  try {
    const { where, status, page } = await sending.answer;
    if (status === 201) return arrived(where);
    failed(new Error(shownIn(page) ? "Not accepted. What to mend is listed above the form." : `The hub answered ${status}. Nothing was kept.`));
  } catch (error) {
    failed(error);
  }
}

// The refusals of the page that came back, put where they would stand.
function shownIn(html) {
  const found = new DOMParser().parseFromString(html, "text/html").querySelector("[data-refusals]");
  if (!found?.childElementCount) return false;
  refusals.replaceChildren(...found.childNodes);
  refusals.focus();
  return true;
}

function begin() {
  under = {};
  mark();
  guard(true);
}

function over() {
  under = null;
  pause.hidden = stop.hidden = true;
  guard(false);
  mark();
}

function arrived(where) {
  forget();
  guard(false);
  location.assign(where);
}

function failed(error) {
  over();
  figures.end(error.message);
  if (!error.findings) return;
  tell(error.status === 403 && owners.organisation ? `${error.message}. What came stays here: choose another owner to go on with it.` : error.message);
  if (error.findings.length) refusals.append(listOf(error.findings));
  refusals.focus();
}

pausing(pause, () => under);

for (const button of document.querySelectorAll("[data-forget]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await ask(button.dataset.forget, { method: "POST" });
    const list = button.closest("section");
    button.closest("li").remove();
    if (!list.querySelector("li")) list.remove();
  });
}
