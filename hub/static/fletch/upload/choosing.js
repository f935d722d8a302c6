// Choosing what is to be uploaded: dropped or picked, folders walked, plain zips opened, each file shown in a list.
import { filesOf, size, tidied } from "../files.js";
import { element } from "./findings.js";
import { unzip } from "./zip.js";

const READ = /(^|\/)(adapter_config\.json|adapter_model\.safetensors|readme\.md|fletch_gates\.(json|safetensors))$/i;
const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

export class Choosing {
  // `changed` hears of every change.
  constructor(form, limits, changed) {
    this.files = new Map(); // path -> File
    this.archive = null; // what the hub has to open
    this.limits = limits;
    this.changed = changed;
    this.list = form.querySelector("[data-files]");
    this.summary = form.querySelector("[data-summary]");
    for (const input of form.querySelectorAll("[data-pick]")) {
      input.addEventListener("change", () => {
        this.add([...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
        input.value = "";
      });
    }
    for (const button of form.querySelectorAll("[data-open]")) {
      button.addEventListener("click", () => form.querySelector(`[data-pick=${button.dataset.open}]`).click());
    }
    this.listen(form.querySelector("[data-drop]"));
  }

  get all() {
    return this.archive ? new Map([[this.archive.name, this.archive]]) : this.files;
  }

  get total() {
    return [...this.all.values()].reduce((sum, file) => sum + file.size, 0);
  }

  async add(found) {
    const [archive] = found.filter(({ path }) => ARCHIVE.test(path));
    if (archive && found.length === 1) await this.open(archive.file);
    else {
      this.archive = null;
      for (const { path, file } of tidied(found)) this.files.set(path, file);
    }
    this.draw();
  }

  async open(file) {
    this.files = new Map();
    this.archive = file;
    if (!/\.zip$/i.test(file.name)) return;
    try {
      const found = tidied(await unzip(file, this.limits));
      this.files = new Map(found.map(({ path, file: inside }) => [path, inside]));
      this.archive = null;
    } catch {
      // the hub opens it, and says what is wrong with it
    }
  }

  complaint() {
    const { limits, total, files } = this;
    if (files.size > limits.members) return `An adapter has at most ${limits.members} files; these are ${files.size}.`;
    if ([...files.keys()].some((path) => ARCHIVE.test(path))) return "Send either one archive or the files themselves, not both.";
    if (this.archive && total > limits.archive) return `An archive may have at most ${size(limits.archive)}; this one has ${size(total)}.`;
    if (total > limits.bytes) return `An adapter may have at most ${size(limits.bytes)}; these files have ${size(total)}.`;
    if (total > limits.left) return `${limits.whose ? `${limits.whose} has` : "You have"} ${size(limits.left)} of storage left; these files have ${size(total)}.`;
    return "";
  }

  draw() {
    const wrong = this.complaint();
    const count = this.all.size;
    this.list.replaceChildren(...[...this.all].sort(([one], [other]) => one.localeCompare(other)).map(([path, file]) => this.line(path, file)));
    this.summary.textContent = wrong || (count ? `${count} ${count === 1 ? "file" : "files"}, ${size(this.total)}` : "");
    this.summary.classList.toggle("errorlist", Boolean(wrong));
    this.changed();
  }

  line(path, file) {
    const remove = element("button", { type: "button", class: "copy", "aria-label": `Remove ${path}` }, "Remove");
    remove.addEventListener("click", () => {
      this.files.delete(path);
      if (file === this.archive) this.archive = null;
      this.draw();
    });
    const item = element("li", {}, element("span", { class: "path" }, path), element("span", { class: "muted small number" }, size(file.size)), remove);
    const remark = this.remark(path, file);
    if (remark) item.append(element("span", { class: "note" }, remark));
    return item;
  }

  remark(path, file) {
    if (file === this.archive) return "The hub opens this archive when it has arrived, and looks at it then.";
    if (file.size === 0) return "This file is empty.";
    if (/\.(bin|pt|pth|pkl)$/i.test(path)) return "Pickled weights are never read. Save with safetensors instead.";
    return READ.test(path) ? "" : "Kept with the release, but not needed to run the adapter.";
  }

  listen(drop) {
    for (const kind of ["dragenter", "dragover"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
    drop.addEventListener("drop", async (event) => {
      event.preventDefault();
      this.add(await filesOf(event.dataTransfer));
    });
    for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  }
}
