// What a configuration without errors declares, as far as the tensors are compared with it.
import { own, truthy } from "./finding.js";

export function settingsOf(document, file) {
  if (document.peft_type === "IA3") return { kind: "IA3", feedforward: truthy(document.feedforward_modules) ? document.feedforward_modules : [] };
  const ranks = own(document, "rank_pattern") ?? {};
  const alphas = own(document, "alpha_pattern") ?? {};
  return {
    kind: "LORA",
    file,
    dora: own(document, "use_dora") ?? false,
    rankOf: (module) => matching(ranks, module, own(document, "r") ?? 8),
    alphaOf: (module) => matching(alphas, module, own(document, "lora_alpha") ?? 8),
  };
}

// PEFT's rule for plain keys: the first that is the module's name, or its end after a dot.
function matching(pattern, module, otherwise) {
  const found = Object.entries(pattern).find(([key]) => module === key.replace(/^\^/, "") || module.endsWith(`.${key}`));
  return found ? found[1] : otherwise;
}
