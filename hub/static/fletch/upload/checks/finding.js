// Findings as the hub's own checks say them, and the way in which Python writes values.
const LONGEST = 300;

export function finding(check, severity, file, field, found, expected, fix) {
  const [shortFile, shortField, ...rest] = [file, field, found, expected, fix].map(shown);
  return { check, severity, file: shortFile, field: shortField, found: rest[0], expected: rest[1], fix: rest[2] };
}

function shown(text) {
  const whole = String(text);
  return whole.length <= LONGEST ? whole : `${whole.slice(0, LONGEST - 1)}…`;
}

// str(value) of Python, for what JSON can hold.
export function said(value) {
  return typeof value === "string" ? value : inside(value);
}

function inside(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return quoted(value);
  if (Array.isArray(value)) return `[${value.map(inside).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, item]) => `${quoted(name)}: ${inside(item)}`).join(", ")}}`;
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? String(BigInt(value)) : String(value);
}

export function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  return mark + text.replaceAll("\\", "\\\\").replaceAll(mark, `\\${mark}`) + mark;
}

export function kindOf(value) {
  if (value === null) return "NoneType";
  if (Array.isArray(value)) return "list";
  return { boolean: "bool", string: "str", number: Number.isInteger(value) ? "int" : "float", object: "dict" }[typeof value];
}

// What Python takes for true: nothing that is empty.
export function truthy(value) {
  if (value === null || value === undefined) return false;
  return typeof value === "object" ? Object.keys(value).length > 0 : Boolean(value);
}

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

export const own = (table, name) => (Object.hasOwn(table, name) ? table[name] : undefined);

// JSON as a value, or what is wrong with it. The hub finds more: names that come twice, numbers without end.
export function parsed(bytes, depth) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { problem: "bytes that are not UTF-8" };
  }
  try {
    const value = JSON.parse(text);
    return deeper(value, depth) ? { problem: `more than ${depth} levels of nesting` } : { value };
  } catch (error) {
    return { problem: `no JSON: ${error.message}` };
  }
}

function deeper(value, depth) {
  let containers = [value];
  for (let level = 0; level < depth; level += 1) {
    containers = containers.flatMap((outer) => (typeof outer === "object" && outer !== null ? Object.values(outer) : [])).filter((item) => typeof item === "object" && item !== null);
  }
  return containers.length > 0;
}
