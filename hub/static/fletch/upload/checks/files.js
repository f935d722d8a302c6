// Which files an upload holds: the two that are needed, a few that are known, and the rest, never opened.
import { finding } from "./finding.js";

export function* fileFindings(upload, spec, rules) {
  yield* tensorsAreSafetensors(upload, rules);
  yield* otherFilesAreIgnored(upload, rules);
}

function* tensorsAreSafetensors(upload, rules) {
  const { tensors } = rules.names;
  if (upload.has(tensors)) return;
  const others = [...upload.keys()].filter((path) => !path.includes("/") && path.includes(".safetensors")).sort();
  let [found, fix] = ["no such file", rules.files.no_tensors_fix];
  if (upload.has("adapter_model.bin")) [found, fix] = ["only adapter_model.bin, a pickle, which can run code when it is opened", rules.files.convert];
  else if (others.length) [found, fix] = [others.join(", "), "Upload the adapter as one file, as PEFT's save_pretrained writes it."];
  yield finding("files", "error", tensors, "", found, "the adapter's tensors as safetensors", fix);
}

function* otherFilesAreIgnored(upload, rules) {
  const known = new Set(rules.files.known);
  const strangers = [...upload.keys()].filter((path) => path.includes("/") || !known.has(path)).sort();
  for (const path of strangers.slice(0, rules.files.listed)) {
    yield finding("files", "warning", path, "", whatIs(path, rules), "only what belongs to the adapter", rules.files.unneeded);
  }
  const more = strangers.length - rules.files.listed;
  if (more > 0) {
    const expected = `${rules.names.config}, ${rules.names.tensors} and a README.md`;
    yield finding("files", "warning", ".", "", `${more} more files that are ignored`, expected, rules.files.unneeded);
  }
}

function whatIs(path, rules) {
  const name = path.split("/").pop();
  const dot = name.lastIndexOf(".");
  const suffix = dot > 0 ? name.slice(dot) : "";
  if (rules.files.pickles.includes(suffix)) return "a file that can run code when it is opened; it is ignored and never opened";
  if (rules.files.programs.includes(suffix)) return "a program; it is ignored and never run";
  return "a file that routing does not use; it is ignored";
}

// A tokenizer that the base does not have. Whether one that it has means the same, only the hub can say.
export function* tokenizerFindings(upload, spec, rules) {
  for (const name of rules.files.vocabulary) {
    if (!upload.has(name) || spec.tokenizer_files?.[name]) continue;
    const found = "a tokenizer file that the base does not have, ignored";
    yield finding("tokenizer", "warning", name, "", found, "no tokenizer, or the base's", "Leave the tokenizer out; the base's own is used.");
  }
}
