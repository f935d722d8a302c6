// Sample rows: JSON lines, counted and looked at as the hub's workers will.
import { finding, isObject, kindOf, said } from "./finding.js";

const SHAPES = 'text in "prompt" and "completion", or a conversation in "messages"';
const FIX = "Give one JSON object a line, as in the documentation, or upload without samples.";

// { rows, findings }: how many rows are sound, and what is wrong with the others.
export async function readRows(file, rules) {
  const error = (field, found, expected) => finding("samples", "error", "samples.jsonl", field, found, expected, FIX);
  if (file.size > rules.largest) return { rows: 0, findings: [error("", `${file.size} bytes`, `at most ${rules.largest}`)] };
  const lines = (await file.text()).split("\n").map((line, at) => [at + 1, line]).filter(([, line]) => line.trim());
  if (!lines.length || lines.length > rules.most) return { rows: 0, findings: [error("", `${lines.length} rows`, `1 to ${rules.most}`)] };
  const findings = lines.map(([number, line]) => wrongWith(line, rules, (found, expected) => error(`line ${number}`, found, expected))).filter(Boolean);
  return { rows: lines.length - findings.length, findings };
}

function wrongWith(line, rules, error) {
  let row;
  try {
    row = JSON.parse(line);
  } catch (problem) {
    return error(`no JSON: ${problem.message}`, "plain UTF-8 JSON");
  }
  const talk = isObject(row) && "messages" in row && !("prompt" in row) && !("completion" in row);
  if (!talk && !(isObject(row) && typeof row.prompt === "string" && typeof row.completion === "string")) {
    return error(isObject(row) ? `the fields ${said(Object.keys(row).sort())}` : kindOf(row), SHAPES);
  }
  return talk ? wrongTalk(row.messages, rules, error) : wrongTexts([row.prompt], row.completion, rules, error);
}

function wrongTalk(messages, rules, error) {
  const turn = (one) => isObject(one) && Object.keys(one).sort().join() === "content,role" && rules.roles.includes(one.role) && typeof one.content === "string";
  if (!Array.isArray(messages) || !messages.every(turn)) return error("other messages", `a role of ${rules.roles.join(", ")}, and its content`);
  if (messages.length < 2 || messages.at(-1).role !== "assistant") return error(`${messages.length} messages`, "a question, and the assistant's answer last");
  return wrongTexts(messages.slice(0, -1).map(({ content }) => content), messages.at(-1).content, rules, error);
}

function wrongTexts(before, completion, rules, error) {
  if (!completion.trim()) return error("an empty completion", "what the expert should answer");
  const length = [...before, completion].reduce((sum, text) => sum + [...text].length, 0);
  return length > rules.characters ? error("a very long row", `at most ${rules.characters} characters`) : null;
}
