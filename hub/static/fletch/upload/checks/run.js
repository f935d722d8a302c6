// The checks that need no weights, before a byte is sent: what they say, the hub would say in the same words. It
// looks at more, so that nothing found here is no promise (docs/decisions/0036-the-upload-wizard.md).
import { isLiteral, readConfig } from "./config.js";
import { fileFindings, tokenizerFindings } from "./files.js";
import { finding } from "./finding.js";
import { readHeader } from "./header.js";
import { Base, belongsTo, layoutFindings, partsOf } from "./layout.js";
import { settingsOf } from "./settings.js";

const MOST = 200;

// What can be read of an upload {path: File} whatever it is for.
export async function read(upload, rules) {
  const config = await readConfig(upload, rules);
  const file = upload.get(rules.names.tensors);
  const header = file ? await readHeader(file, rules.names.tensors, { ...rules.header, save_json_again: rules.save_json_again }) : { findings: [] };
  return { upload, config, header };
}

// Every finding about what was read; those that compare with a base only where `spec` says what it is.
export function findingsOf({ upload, config, header }, spec, rules) {
  const found = [...fileFindings(upload, spec, rules), ...config.findings];
  if (spec) found.push(...taskFindings(config.document, spec, rules), ...baseFindings(config.document, header, spec, rules), ...tokenizerFindings(upload, spec, rules));
  found.push(...header.findings);
  if (spec && header.tensors) {
    const settings = config.document && !config.findings.length ? settingsOf(config.document, rules.names.config) : null;
    found.push(...layoutFindings(header.tensors, settings, new Base(spec), rules), ...targetFindings(config.document, header.tensors, spec, rules));
  }
  const ordered = [...found.filter(({ severity }) => severity === "error"), ...found.filter(({ severity }) => severity !== "error")];
  if (ordered.length <= MOST) return ordered;
  return [...ordered.slice(0, MOST), finding("files", ordered[0].severity, ".", "", `${ordered.length - MOST} more findings`, "fewer at once", "Correct these first.")];
}

function* taskFindings(document, spec, rules) {
  const declared = document?.task_type ?? null;
  const family = spec.family ?? "causal";
  const right = rules.families[family];
  if (declared === null || !rules.config.tasks.includes(declared) || declared === right.task) return;
  yield finding("task-type", "error", rules.names.config, "task_type", declared, `${right.task}, since ${spec.name} is ${right.said}`, "Upload it to a library of the kind of base it was trained on.");
}

function* baseFindings(document, header, spec, rules) {
  const declared = document?.base_model_name_or_path;
  if (lastPart(declared) === lastPart(spec.name)) return;
  const fits = !header.tensors || belongsTo(header.tensors, new Base(spec), rules.tensors);
  const found = typeof declared === "string" ? declared : "no name of a base";
  const fix = fits ? "Make sure that it was trained on this base." : `Upload it to a library of its own base, or train it on ${spec.name}.`;
  yield finding("base-name", fits ? "warning" : "error", rules.names.config, "base_model_name_or_path", found, spec.name, fix);
}

// `org/Name`, `/some/where/Name/` and `name` are taken for the same.
export function lastPart(name) {
  return typeof name === "string" ? (name.replaceAll("\\", "/").replace(/\/+$/, "").split("/").pop() ?? "").toLowerCase() : "";
}

function* targetFindings(document, tensors, spec, rules) {
  const declared = declaredTargets(document, spec);
  if (!declared) return;
  const names = new Set(spec.target_modules.map((module) => module.name));
  const adapted = [...partsOf(tensors, { ...rules.tensors.lora_parts, ia3_l: "scale" }, rules.tensors).keys()];
  const present = new Set(adapted.filter((module) => names.has(module)));
  const fix = "Save tensors and configuration together, with PEFT's save_pretrained.";
  const missing = [...declared].filter((module) => !present.has(module)).sort();
  const some = (modules) => modules.slice(0, 5).join(", ");
  if (missing.length) yield finding("targets", "error", rules.names.tensors, "", `no tensors for ${missing.length} of ${declared.size} declared modules, such as ${some(missing)}`, "tensors for every declared module", fix);
  const added = [...present].filter((module) => !declared.has(module)).sort();
  if (added.length) yield finding("targets", "error", rules.names.config, "target_modules", `tensors for ${added.length} modules that it does not name, such as ${some(added)}`, "all adapted modules", fix);
}

// The modules that the configuration names, by PEFT's rule for plain names; nothing if it uses patterns.
function declaredTargets(document, spec) {
  const { target_modules: names, layers_pattern: pattern, exclude_modules: excluded, layers_to_transform: said = null } = document ?? {};
  const layers = said === null ? [] : [said].flat();
  const plain = (value) => value === undefined || value === null || value === "" || value.length === 0;
  if (!Array.isArray(names) || !names.every(isLiteral) || !layers.every(Number.isInteger) || !plain(pattern) || !plain(excluded)) return null;
  const fitting = spec.target_modules.filter(({ name }) => names.some((one) => name === one || name.endsWith(`.${one}`)) && (!layers.length || layers.includes(layerOf(name))));
  return new Set(fitting.map(({ name }) => name));
}

function layerOf(module) {
  const match = /^.*\.[^.]*\.(\d+)\./.exec(module);
  return match ? Number(match[1]) : null;
}
