// adapter_config.json: of which kind the adapter is, and every setting that would make it something else.
import { finding, isObject, kindOf, own, parsed, said, truthy } from "./finding.js";

const CHECK = "adapter-config";
const LITERAL = /^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$/;
const LITERAL_KEY = /^\^?[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$/;
const PLAIN_JSON = "plain UTF-8 JSON";

export const isLiteral = (name) => typeof name === "string" && LITERAL.test(name);

// { document, findings }: the configuration where it is sound JSON, and what is wrong with it.
export async function readConfig(upload, rules) {
  const file = upload.get(rules.names.config);
  const error = (field, found, expected, fix = "") => finding(CHECK, "error", rules.names.config, field, said(found), expected, fix);
  if (!file) return { findings: [error("", "no such file", "the configuration that PEFT writes beside the tensors")] };
  if (file.size > rules.config.largest) return { findings: [error("", `${file.size} bytes`, `at most ${rules.config.largest}`)] };
  const { value, problem } = parsed(await file.arrayBuffer(), rules.config.depth);
  if (problem) return { findings: [error("", problem, PLAIN_JSON, rules.save_json_again)] };
  if (!isObject(value)) return { findings: [error("", kindOf(value), "a JSON object")] };
  return { document: value, findings: [...settingFindings(value, rules, error)] };
}

function* settingFindings(document, rules, error) {
  const kind = own(document, "peft_type");
  if (kind === "LORA") yield* loraFindings(document, rules.lora, rules.config, error);
  else if (kind === "IA3") yield* ia3Findings(document, rules.ia3, rules.config, error);
  else {
    const known = (typeof kind === "string" && own(rules.kinds, kind)) || rules.unknown_kind;
    yield error("peft_type", `${said(kind)}: ${known.what}`, `LORA or IA3, because ${known.why}`, known.fix);
  }
}

function* taskFindings(document, rules, error) {
  const task = own(document, "task_type") ?? null;
  if (!rules.tasks.includes(task)) yield error("task_type", task, "CAUSAL_LM, or SEQ_2_SEQ_LM for an encoder-decoder", "Train with that task_type.");
  const mapping = own(document, "auto_mapping");
  const library = isObject(mapping) ? (own(mapping, "parent_library") ?? "") : "";
  if (truthy(mapping) && !said(library).startsWith("transformers.")) yield error("auto_mapping", mapping, "null, or a class of transformers", "Train with a task_type.");
}

function* unknownFindings(document, known, kind, error) {
  for (const name of Object.keys(document).sort()) {
    if (!known.has(name) && truthy(document[name])) yield error(name, document[name], `a setting of PEFT's ${kind} that this hub knows`, "Remove it if it has no effect.");
  }
}

function* loraFindings(document, lora, rules, error) {
  yield* taskFindings(document, rules, error);
  const bias = Object.hasOwn(document, "bias") ? document.bias : "none";
  if (bias !== "none") yield error("bias", bias, "none", `It would change the base's own biases. ${lora.train_plain}`);
  for (const name of ["use_rslora", "use_dora"]) {
    if (Object.hasOwn(document, name) && typeof document[name] !== "boolean") yield error(name, document[name], "true or false");
  }
  for (const [name, reason] of Object.entries(lora.refused)) {
    if (truthy(own(document, name))) yield error(name, document[name], `not set, because ${reason}`, reason === lora.changes_base ? lora.convert : lora.train_plain);
  }
  yield* unknownFindings(document, new Set(lora.known), "LoRA", error);
  const begun = Object.hasOwn(document, "init_lora_weights") ? document.init_lora_weights : true;
  if (!(begun === null || typeof begun === "boolean" || lora.initialisations.includes(begun))) {
    yield error("init_lora_weights", begun, "true, gaussian, eva or orthogonal: otherwise the base was another one in training", lora.convert);
  }
  const rank = (value) => Number.isInteger(value) && value >= 1 && value <= lora.largest_rank;
  yield* numberFindings(document, ["r", "rank_pattern"], rank, `a whole number from 1 to ${lora.largest_rank}`, "", error);
  const alpha = (value) => typeof value === "number" && value > 0;
  yield* numberFindings(document, ["lora_alpha", "alpha_pattern"], alpha, "a number above 0", "A negative update is one with the sign of B changed.", error);
}

function* numberFindings(document, [name, pattern], sound, expected, fix, error) {
  if (Object.hasOwn(document, name) && !sound(document[name])) yield error(name, document[name], expected, fix);
  const exceptions = truthy(own(document, pattern)) ? document[pattern] : {};
  if (!isObject(exceptions)) {
    yield error(pattern, kindOf(exceptions), "a table of module names");
    return;
  }
  for (const [key, value] of Object.entries(exceptions)) {
    if (!LITERAL_KEY.test(key)) {
      yield error(`${pattern}.${key}`, "a pattern", "a module name or its end, in letters, digits, _ and dots", "Name the modules one by one; patterns of strangers are not run.");
    }
    if (!sound(value)) yield error(`${pattern}.${key}`, value, expected, fix);
  }
}

function* ia3Findings(document, ia3, rules, error) {
  yield* taskFindings(document, rules, error);
  for (const [name, reason] of Object.entries(ia3.refused)) {
    if (truthy(own(document, name))) yield error(name, document[name], `not set, because ${reason}`, "Train an (IA)^3 without it and upload that.");
  }
  yield* unknownFindings(document, new Set(ia3.known), "(IA)^3", error);
  const names = truthy(own(document, "feedforward_modules")) ? document.feedforward_modules : [];
  const targets = own(document, "target_modules");
  if (!Array.isArray(names) || !names.every(isLiteral)) {
    yield error("feedforward_modules", names, ia3.literal, "Name the modules one by one; patterns of strangers are not run.");
  } else if (Array.isArray(targets)) {
    const others = [...new Set(names)].filter((name) => !targets.map(said).includes(name)).sort();
    if (others.length) yield error("feedforward_modules", others.join(", "), ia3.subset, "Correct one of the two lists.");
  }
}
