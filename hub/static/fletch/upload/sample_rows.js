// Sample rows: counted and checked here, sent only with everything else.
import { readRows } from "./checks/rows.js";
import { element, icon, listOf } from "./findings.js";

export class SampleRows {
  constructor(form, rules, libraries, changed) {
    this.input = form.elements.samples;
    this.place = form.querySelector("[data-rows-said]");
    this.notes = [...form.querySelectorAll("[data-embeds]")];
    this.rules = rules;
    this.libraries = libraries;
    this.changed = changed;
    this.errors = 0;
    this.input.addEventListener("change", () => this.look());
  }

  get file() {
    return this.input.files[0] ?? null;
  }

  get words() {
    if (!this.file) return "none";
    return this.errors ? `${this.file.name}, with ${this.errors} wrong` : `${this.count} rows of ${this.file.name}`;
  }

  // Only what the chosen library publishes is of interest.
  enter() {
    for (const note of this.notes) note.hidden = this.libraries.chosen !== "" && note.dataset.embeds !== this.libraries.chosen;
  }

  async look() {
    const { file } = this;
    const { rows, findings } = file ? await readRows(file, (await this.rules).rows) : { rows: 0, findings: [] };
    if (file !== this.file) return;
    this.errors = findings.length;
    this.count = rows;
    this.place.replaceChildren(...this.said(findings));
    this.changed();
  }

  said(findings) {
    if (!this.file) return [];
    const remove = element("button", { type: "button", class: "button small" }, "Give none");
    remove.addEventListener("click", () => {
      this.input.value = "";
      this.look();
      this.input.focus();
    });
    const sound = element("div", { class: "alert good" }, icon("check"), element("div", {}, `${this.count} sound rows.`));
    return [findings.length ? listOf(findings) : sound, element("div", { class: "actions" }, remove)];
  }
}
