// The tensors against the base: every one is a part of an update of one of its modules, in its widths.
import { finding, said } from "./finding.js";

export class Base {
  constructor(spec) {
    this.name = spec.name;
    this.modules = new Map(spec.target_modules.map((module) => [module.name, module]));
    this.first = spec.target_modules[0]?.name ?? "";
  }
}

// What each tensor is: its module and the part of it, or nothing for a stranger.
export function partsOf(tensors, names, rules) {
  const found = new Map();
  for (const [name, entry] of tensors) {
    const [module, part] = moduleAndPart(name, Object.keys(names), rules) ?? [];
    if (module) found.set(module, { ...found.get(module), [names[part]]: entry });
  }
  return found;
}

function moduleAndPart(name, parts, rules) {
  if (!name.startsWith(rules.prefix)) return null;
  for (const part of parts) {
    const end = name.length - part.length - 1;
    if (end > rules.prefix.length && name.endsWith(`.${part}`)) return [name.slice(rules.prefix.length, end), part];
  }
  return null;
}

export function layoutFindings(tensors, settings, base, rules) {
  const isIa3 = settings ? settings.kind === "IA3" : [...tensors.keys()].some((name) => name.endsWith(".ia3_l"));
  const error = (field, found, expected, fix) => finding("tensors-fit-base", "error", rules.names.tensors, field, found, expected, fix);
  return isIa3 ? ia3Findings(tensors, settings, base, rules.tensors, error) : loraFindings(tensors, settings, base, rules.tensors, error);
}

function* loraFindings(tensors, settings, base, rules, error) {
  yield* loraStrangers(tensors, settings, base, rules, error);
  const parts = partsOf(tensors, rules.lora_parts, rules);
  if (![...parts.keys()].some((module) => base.modules.has(module))) {
    yield error("", "no LoRA tensors", "lora_A and lora_B for at least one module of the base", rules.save_again);
  }
  for (const [module, found] of parts) {
    if (!base.modules.has(module)) continue;
    const needed = settings?.dora ? ["A", "B", "magnitude"] : ["A", "B"];
    const missing = needed.find((part) => !found[part]);
    if (missing) {
      yield error(`${module}.${rules.file_names[missing]}`, "no such tensor", "all parts of every adapted module", rules.save_again);
      continue;
    }
    yield* loraShapes(base.modules.get(module), found, rules, error);
    if (settings) yield* loraSettings(module, found.A, settings, rules, error);
  }
}

function* loraStrangers(tensors, settings, base, rules, error) {
  for (const name of tensors.keys()) {
    const found = moduleAndPart(name, Object.keys(rules.lora_parts), rules);
    if (!found) {
      const fix = "Save only the LoRA, with PEFT's save_pretrained(..., save_embedding_layers=False).";
      yield error(name, stranger(name, rules), "only tensors named base_model.model.<module>.lora_A.weight and lora_B.weight", fix);
    } else if (!base.modules.has(found[0])) {
      yield error(name, `the module ${found[0]}`, `a module of ${base.name}, such as ${base.first}`, rules.other_base);
    } else if (rules.lora_parts[found[1]] === "magnitude" && settings && !settings.dora) {
      yield error(name, rules.no_dora, "use_dora in adapter_config.json, or no magnitudes", rules.save_again);
    }
  }
}

function stranger(name, rules) {
  const known = rules.strangers.find(([, marks]) => marks.some((mark) => name.includes(mark)));
  return known ? known[0] : "a weight of the base itself, which no expert may change";
}

function* loraShapes(module, { A: a, B: b, magnitude }, rules, error) {
  const rank = a.shape[0];
  const narrow = Math.min(module.d_in, module.d_out);
  if (!same(a.shape.slice(1), [module.d_in])) yield error(a.name, `shape ${said(a.shape)}`, `[rank, ${module.d_in}], the base's width there`, rules.other_base);
  if (!same(b.shape, [module.d_out, rank])) yield error(b.name, `shape ${said(b.shape)}`, `[${module.d_out}, ${rank}], the base's width and A's rank`, rules.other_base);
  if (magnitude && !same(magnitude.shape, [module.d_out])) yield error(magnitude.name, `shape ${said(magnitude.shape)}`, `[${module.d_out}], a length for each output`, rules.other_base);
  if (rank > rules.largest_rank) yield error(a.name, `rank ${rank}`, `at most ${rules.largest_rank}`, "Reduce it by a singular value decomposition.");
  else if (rank > narrow) yield { ...error(a.name, `rank ${rank}`, `at most ${narrow}, the width`, "The rest adds nothing and is removed without loss."), severity: "warning" };
}

function* loraSettings(module, a, settings, rules, error) {
  const rank = a.shape[0];
  const declared = settings.rankOf(module);
  const alpha = settings.alphaOf(module);
  if (declared !== rank) {
    yield error(a.name, `rank ${rank}`, `${declared}, as ${settings.file} declares`, "Correct r or rank_pattern, or save tensors and configuration together.");
  } else if (alpha / rank > rules.alpha_per_rank) {
    const expected = `at most ${rules.alpha_per_rank} times the rank ${rank}`;
    yield { ...error(`alpha of ${module}`, general(alpha), expected, "Fold a part of the scale into B."), file: settings.file };
  }
}

// A number by Python's format "g": six digits.
function general(number) {
  const [digits, power] = number.toExponential(5).split("e");
  if (Number(power) >= -4 && Number(power) < 6) return String(Number(number.toPrecision(6)));
  return `${Number(digits)}e${power[0] === "-" ? "-" : "+"}${power.replace(/^[+-]/, "").padStart(2, "0")}`;
}

function* ia3Findings(tensors, settings, base, rules, error) {
  const scales = partsOf(tensors, { ia3_l: "scale" }, rules);
  if (![...scales.keys()].some((module) => base.modules.has(module))) yield error("", "no (IA)^3 vectors", "ia3_l for at least one module of the base", rules.save_again);
  for (const name of tensors.keys()) {
    if (moduleAndPart(name, ["ia3_l"], rules)) continue;
    const fix = "Save only the (IA)^3, with PEFT's save_pretrained(..., save_embedding_layers=False).";
    yield error(name, stranger(name, rules), "only tensors named base_model.model.<module>.ia3_l", fix);
  }
  for (const [name, { scale }] of scales) {
    const module = base.modules.get(name);
    if (!module) yield error(scale.name, `the module ${name}`, `a module of ${base.name}, such as ${base.first}`, rules.other_base);
    else yield* ia3Shape(module, scale, settings, rules, error);
  }
}

function* ia3Shape(module, scale, settings, rules, error) {
  const [input, output] = [[1, module.d_in], [module.d_out, 1]];
  const onInput = settings?.feedforward.some((name) => module.name.endsWith(name));
  const shapes = settings ? [onInput ? input : output] : [input, output];
  if (shapes.some((shape) => same(shape, scale.shape))) return;
  const place = shapes[0][0] === 1 ? "input, by feedforward_modules" : "output";
  yield error(scale.name, `shape ${said(scale.shape)}`, `${shapes.map(said).join(" or ")}, a factor for each ${place}`, rules.other_base);
}

// Whether all modules that the tensors name are modules of this base, in its widths.
export function belongsTo(tensors, base, rules) {
  const lora = [...partsOf(tensors, rules.lora_parts, rules)].every(([name, { A, B }]) => {
    const module = base.modules.get(name);
    return module && (!A || A.shape.at(-1) === module.d_in) && (!B || B.shape[0] === module.d_out);
  });
  const scales = [...partsOf(tensors, { ia3_l: "scale" }, rules)].every(([name, { scale }]) => {
    const module = base.modules.get(name);
    return module && (same(scale.shape, [1, module.d_in]) || same(scale.shape, [module.d_out, 1]));
  });
  return lora && scales;
}

const same = (one, other) => one.length === other.length && one.every((size, at) => size === other[at]);
