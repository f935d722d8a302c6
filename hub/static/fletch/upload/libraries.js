// The choice of a library: those that grow on the base which the files name come first.
import { lastPart } from "./checks/run.js";
import { element } from "./findings.js";

export class Libraries {
  constructor(form, changed) {
    this.list = form.querySelector("[data-libraries]");
    this.said = form.querySelector("[data-recognised]");
    this.items = [...this.list.children];
    this.byHand = false;
    this.list.addEventListener("change", () => {
      this.byHand = true;
      changed();
    });
  }

  get chosen() {
    return this.list.querySelector("input:checked")?.value ?? "";
  }

  get name() {
    return this.list.querySelector("input:checked")?.closest("label").querySelector("strong").textContent ?? "";
  }

  // `base` is what the configuration names, or nothing where there is none yet.
  suggest(base) {
    const fitting = this.items.filter((item) => base && lastPart(item.dataset.base) === lastPart(base));
    for (const item of this.items) {
      item.querySelector(".badge")?.remove();
      if (fitting.includes(item)) item.querySelector("label").append(element("span", { class: "badge good" }, "Its base"));
    }
    this.list.append(...fitting, ...this.items.filter((item) => !fitting.includes(item)));
    if (fitting.length === 1 && !this.byHand && !this.chosen) fitting[0].querySelector("input").checked = true;
    this.said.textContent = this.words(base, fitting);
    this.said.className = base && !fitting.length ? "small errorlist" : "small muted";
  }

  words(base, fitting) {
    if (!base) return "";
    if (fitting.length === 1) return `adapter_config.json names ${base}: the base of one library here.`;
    if (fitting.length) return `adapter_config.json names ${base}: the base of ${fitting.length} libraries here.`;
    return `adapter_config.json names ${base}, and no library here grows on that. Choose one only if it is the same base under another name.`;
  }
}
