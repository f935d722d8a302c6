// What the chosen files say of themselves, and what the checks find in them, before a byte is sent.
import { size } from "../files.js";
import { findingsOf, read } from "./checks/run.js";
import { said } from "./checks/finding.js";
import { element, facts, icon, listOf } from "./findings.js";

const specs = new Map(); // library -> promise of the description of its base

export class Looking {
  // `upload` gives the files by path, `library` the slug of the chosen library or nothing.
  constructor(place, { upload, library, looked }) {
    this.place = place;
    this.sources = { upload, library };
    this.looked = looked;
    this.turn = 0;
    this.rules = fetch(new URL("./rules.json", import.meta.url)).then((answer) => answer.json());
    this.found = { findings: [], config: {}, header: {} };
  }

  get errors() {
    return this.found.findings.filter(({ severity }) => severity === "error").length;
  }

  // Looks again; the last call counts, however long the others take.
  async look() {
    this.turn += 1;
    const turn = this.turn;
    const upload = this.sources.upload();
    const rules = await this.rules;
    const seen = upload.size ? await read(upload, rules) : { upload, config: { findings: [] }, header: { findings: [] } };
    if (turn !== this.turn) return;
    this.looked(seen); // the library may be chosen by what the files say
    const spec = upload.size ? await specOf(this.sources.library()) : null;
    if (turn !== this.turn) return;
    this.found = { ...seen, findings: upload.size ? findingsOf(seen, spec, rules) : [] };
    this.draw(Boolean(spec));
    this.looked(this.found);
  }

  draw(compared) {
    const { upload, config, header, findings } = this.found;
    if (!upload.size) return this.place.replaceChildren();
    const parts = [];
    if (config.document) parts.push(element("dl", { class: "facts recognised" }, ...facts(recognised(config.document, header.tensors))));
    parts.push(verdict(findings, this.errors, compared));
    if (findings.length) parts.push(listOf(findings));
    this.place.replaceChildren(...parts);
  }
}

function specOf(slug) {
  if (!slug) return null;
  if (!specs.has(slug)) {
    const asked = fetch(`/api/v1/libraries/${encodeURIComponent(slug)}`, { headers: { Accept: "application/json" } });
    specs.set(slug, asked.then((answer) => (answer.ok ? answer.json() : {})).then((library) => usable(library.base_spec)).catch(() => null));
  }
  return specs.get(slug);
}

const usable = (spec) => (spec?.target_modules?.length ? spec : null);

function recognised(document, tensors) {
  const names = document.target_modules;
  const entries = [...(tensors?.values() ?? [])];
  const bytes = entries.reduce((sum, { begin, end }) => sum + end - begin, 0);
  return [
    ["Kind", kind(document)],
    ["Rank", document.peft_type === "LORA" ? `${said(document.r ?? 8)}, alpha ${said(document.lora_alpha ?? 8)}` : ""],
    ["Base", document.base_model_name_or_path ? said(document.base_model_name_or_path) : ""],
    ["Modules", Array.isArray(names) ? names.map(said).join(", ") : names ? said(names) : ""],
    ["Tensors", entries.length ? `${entries.length} of ${[...new Set(entries.map(({ dtype }) => dtype))].join(", ")}, ${size(bytes)}` : ""],
  ];
}

function kind({ peft_type: type, use_dora: dora }) {
  return { LORA: dora ? "DoRA" : "LoRA", IA3: "(IA)³" }[type] ?? (type === undefined ? "" : said(type));
}

function verdict(findings, errors, compared) {
  const [kindOf, sign] = errors ? ["bad", "error"] : ["good", "check"];
  const words = errors
    ? `${errors} ${errors === 1 ? "thing" : "things"} for which the hub would refuse this. Fix ${errors === 1 ? "it" : "them"} before you send it.`
    : compared
      ? "Read here, and it fits: nothing for which the hub would refuse it by its form. Numbers, copies and behaviour are looked at after it is sent."
      : "Read here. Whether it fits the base is compared when a library is chosen.";
  return element("div", { class: `alert ${compared || errors ? kindOf : ""}` }, icon(errors || compared ? sign : "info"), element("div", {}, element("p", {}, words), findings.length > errors ? element("p", { class: "muted small" }, `${findings.length - errors} ${findings.length - errors === 1 ? "warning" : "warnings"} besides, for which nothing is refused.`) : ""));
}
