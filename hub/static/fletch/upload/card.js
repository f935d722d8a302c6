// Writing the card: the text is what counts. Its fields are written into its front matter by the hub, which also
// shows how it will look.
import { postForm } from "./hub.js";

const AFTER = 400; // milliseconds without another letter
const FIELDS = ["license", "language", "tags"];

export class Card {
  // `changed` hears that something else is known of the card.
  constructor(form, changed) {
    this.changed = changed;
    this.text = form.elements.card;
    this.fields = FIELDS.map((name) => form.elements[name]);
    this.preview = form.querySelector("[data-preview]");
    this.complaint = form.querySelector("[data-card-complaint]");
    this.note = form.querySelector("[data-card-note]");
    this.original = ""; // of the README.md that was chosen
    this.typed = {}; // into fields, and not yet in the text
    this.template = form.querySelector("[data-template-text]").value;
    this.name = form.elements.name;
    this.text.addEventListener("input", () => this.soon());
    for (const field of this.fields) field.addEventListener("change", () => this.ask({ [field.name]: field.value }));
    form.querySelector("[data-template]").addEventListener("click", () => this.begin());
    for (const button of form.querySelectorAll("[data-show]")) button.addEventListener("click", () => this.show(form, button));
  }

  // The chosen README.md, unless somebody wrote here already.
  async take(file) {
    const text = file ? (await file.text()).replaceAll("\r\n", "\n") : "";
    if (this.text.value === this.original) this.text.value = text;
    this.original = text;
    await this.ask({});
  }

  get written() {
    return this.text.value.trim() !== "" && this.text.value !== this.original;
  }

  // README.md as it is to be sent, where it differs from what was chosen.
  get file() {
    return this.written ? new Blob([this.text.value], { type: "text/markdown" }) : null;
  }

  // What becomes of the step in which it is written.
  get state() {
    if (this.complaint.textContent) return "wrong";
    return this.note.textContent ? "noted" : "done";
  }

  begin() {
    if (this.text.value.trim() && !window.confirm("Replace what is written by the template?")) return;
    this.text.value = this.template.replace("{name}", this.name.value || "Name of the adapter");
    this.text.focus();
    this.ask({});
  }

  show(form, button) {
    for (const other of form.querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", String(other === button));
    for (const part of form.querySelectorAll("[data-card]")) part.hidden = part.dataset.card !== button.dataset.show;
    this.ask({});
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask({}), AFTER);
  }

  // Resolves when the text holds what was typed into the fields.
  async settled() {
    if (Object.keys(this.typed).length) await this.ask({});
    await this.asking;
  }

  // The last question counts, and takes along what the ones before it did not get answered.
  ask(typed) {
    clearTimeout(this.timer);
    this.under?.abort();
    this.under = new AbortController();
    this.typed = { ...this.typed, ...typed };
    this.asking = this.answered(this.text.value, this.typed, this.under.signal);
    return this.asking;
  }

  async answered(before, typed, signal) {
    try {
      const said = await postForm("/upload/card", { card: before, ...typed }, signal);
      if (signal.aborted) return;
      if (this.text.value !== before) return this.soon(); // somebody wrote meanwhile, and that is asked about too
      this.typed = {};
      if (said.text !== before) this.text.value = said.text;
      for (const field of this.fields) if (field !== document.activeElement || field.name in typed) field.value = said.fields[field.name];
      // harmless: the hub's own sanitiser made it
      this.preview.innerHTML = said.html || "<p class=\"muted\">Nothing is written yet.</p>";
      this.complaint.textContent = said.complaint;
      this.note.textContent = said.note;
      this.changed();
    } catch (error) {
      if (error.name !== "AbortError") this.complaint.textContent = error.message;
    }
  }
}
