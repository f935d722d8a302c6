// The upload page with drag and drop, a list before sending, and byte progress.
// The form works without any of this: then the browser's own file input is sent.
import { size, filesOf } from "./files.js";

const form = document.querySelector("form[data-upload]");
const drop = form.querySelector("[data-drop]");
const list = form.querySelector("[data-files]");
const summary = form.querySelector("[data-summary]");
const status = form.querySelector("[data-status]");
const bar = form.querySelector("progress");
const send = form.querySelector("[data-send]");
const stop = form.querySelector("[data-stop]");
const refusals = document.querySelector("[data-refusals]");
const limits = { bytes: Number(form.dataset.bytes), members: Number(form.dataset.members), archive: Number(form.dataset.archive), left: Number(form.dataset.left) };
const READ = /(^|\/)(adapter_config\.json|adapter_model\.safetensors|readme\.md)$/i;
const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

let chosen = new Map(); // path -> File
let request = null;

form.classList.add("enhanced");
form.querySelectorAll(".without-script input[type=file]").forEach((input) => input.removeAttribute("required"));

function add(files) {
  for (const { path, file } of files) chosen.set(path, file);
  draw();
}

function total() {
  return [...chosen.values()].reduce((sum, file) => sum + file.size, 0);
}

function complaint() {
  const archives = [...chosen.keys()].filter((path) => ARCHIVE.test(path));
  if (archives.length && chosen.size > 1) return "Send either one archive or the files themselves, not both.";
  if (chosen.size > limits.members) return `An adapter has at most ${limits.members} files; these are ${chosen.size}.`;
  if (archives.length && total() > limits.archive) return `An archive may have at most ${size(limits.archive)}; this one has ${size(total())}.`;
  if (total() > limits.bytes) return `An adapter may have at most ${size(limits.bytes)}; these files have ${size(total())}.`;
  if (total() > limits.left) return `You have ${size(limits.left)} of storage left; these files have ${size(total())}.`;
  return "";
}

function note(path, file) {
  if (file.size === 0) return "This file is empty.";
  if (/\.(bin|pt|pth|pkl)$/i.test(path)) return "Pickled weights are never read. Save with safetensors instead.";
  if (!READ.test(path) && !ARCHIVE.test(path)) return "Kept with the release, but not needed to run the adapter.";
  return "";
}

function line(path, file) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = "path";
  name.textContent = path;
  const weight = document.createElement("span");
  weight.className = "muted small number";
  weight.textContent = size(file.size);
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "copy";
  remove.textContent = "Remove";
  remove.setAttribute("aria-label", `Remove ${path}`);
  remove.addEventListener("click", () => {
    chosen.delete(path);
    draw();
  });
  item.append(name, weight, remove);
  const remark = note(path, file);
  if (remark) {
    const hint = document.createElement("span");
    hint.className = "note";
    hint.textContent = remark;
    item.append(hint);
  }
  return item;
}

function draw() {
  list.replaceChildren(...[...chosen].sort(([a], [b]) => a.localeCompare(b)).map(([path, file]) => line(path, file)));
  const wrong = complaint();
  summary.textContent = wrong || (chosen.size ? `${chosen.size} ${chosen.size === 1 ? "file" : "files"}, ${size(total())}` : "");
  summary.classList.toggle("errorlist", Boolean(wrong));
  send.disabled = Boolean(wrong) || request !== null;
}

for (const input of form.querySelectorAll("[data-pick]")) {
  input.addEventListener("change", () => {
    add([...input.files].map((file) => ({ path: withoutFolder(file.webkitRelativePath) || file.name, file })));
    input.value = "";
  });
}
for (const button of form.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => form.querySelector(`[data-pick=${button.dataset.open}]`).click());
}

function withoutFolder(path) {
  return path.split("/").slice(1).join("/");
}

for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  add(await filesOf(event.dataTransfer));
});
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

form.addEventListener("submit", (event) => {
  event.preventDefault();
  refusals.replaceChildren();
  if (chosen.size === 0) return say("Choose the files of your adapter first.");
  start(body());
});

function body() {
  const data = new FormData(form);
  for (const name of ["files", "archive", "paths"]) data.delete(name);
  for (const [path, file] of chosen) {
    if (ARCHIVE.test(path)) {
      data.append("archive", file, path);
    } else {
      data.append("files", file, path.split("/").pop());
      data.append("paths", path);
    }
  }
  return data;
}

function start(data) {
  request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
  request.responseType = "text";
  request.upload.addEventListener("progress", progress);
  request.addEventListener("load", finished);
  request.addEventListener("error", () => failed("The connection was lost or refused. Nothing was kept; send again."));
  request.addEventListener("abort", () => failed("Stopped. Nothing was kept."));
  const began = Date.now();
  bar.dataset.began = began;
  show(true);
  request.send(data);
}

function progress(event) {
  bar.max = event.total;
  bar.value = event.loaded;
  const seconds = (Date.now() - Number(bar.dataset.began)) / 1000;
  const speed = seconds > 0.5 ? `, ${size(event.loaded / seconds)} a second` : "";
  say(event.loaded < event.total ? `${size(event.loaded)} of ${size(event.total)}${speed}` : "Received. Storing the files ...");
}

function finished() {
  if (request.status === 201) {
    location.assign(request.getResponseHeader("Location"));
    return;
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  const found = page.querySelector("[data-refusals]");
  if (found && found.childElementCount) {
    refusals.replaceChildren(...found.childNodes);
    refusals.focus();
    failed("Not accepted. What to mend is listed above the form.");
  } else {
    failed(page.querySelector("main h1")?.textContent || `The hub answered ${request.status}. Nothing was kept.`);
  }
}

function failed(reason) {
  request = null;
  show(false);
  say(reason);
  draw();
}

function show(sending) {
  bar.hidden = stop.hidden = !sending;
  bar.removeAttribute("value");
  send.disabled = sending;
}

function say(text) {
  status.textContent = text;
}

stop.addEventListener("click", () => request?.abort());
draw();
