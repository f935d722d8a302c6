// Findings as the pages show them (components/findings.html): what is wrong in one way at many places is said once.
const SHOWN = 8;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

export function icon(name) {
  const sprite = document.querySelector(".icon use").getAttribute("href").split("#")[0];
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${sprite}#${name}`);
  made.append(use);
  return made;
}

export function facts(pairs) {
  return pairs.filter(([, value]) => value !== "" && value !== undefined).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
}

export function listOf(findings) {
  return element("ol", { class: "findings" }, ...complaints(findings).map(complaint));
}

function complaints(findings) {
  const alike = new Map();
  for (const one of findings) {
    const key = JSON.stringify([one.check, one.severity, one.file, one.expected, one.fix]);
    alike.set(key, [...(alike.get(key) ?? []), one]);
  }
  return [...alike.values()];
}

function complaint(group) {
  const [first] = group;
  const many = group.length > 1;
  const isWarning = first.severity === "warning";
  const badge = element("span", { class: `badge ${isWarning ? "warn" : "bad"} plain` }, icon(isWarning ? "warning" : "error"), isWarning ? " Warning" : " Error");
  const title = element("h4", {}, badge, ` ${spoken(first.check)}`);
  if (many) title.append(" ", element("span", { class: "muted small" }, `at ${group.length} places`));
  const code = (text) => (text ? element("code", {}, text) : "");
  const about = [["File", code(first.file)], ...(many ? [] : [["Field", code(first.field)], ["Found", coded(first.found)]]), ["Expected", coded(first.expected)]];
  const item = element("li", { class: `finding ${first.severity}` }, title, element("dl", { class: "facts" }, ...facts(about)));
  if (many) item.append(places(group));
  if (first.fix) item.append(element("p", { class: "fix" }, icon("wrench"), element("span", {}, element("strong", {}, isWarning ? "What would help:" : "How to fix it:"), " ", coded(first.fix))));
  return item;
}

// What stands between backticks is code; everything else stays text.
function coded(text) {
  if (!text) return text;
  const made = document.createDocumentFragment();
  made.append(...text.split(/`([^`\n]+)`/).map((part, number) => (number % 2 ? element("code", {}, part) : part)));
  return made;
}

function places(group) {
  const shown = group.slice(0, SHOWN).map(({ field, found }) => element("li", {}, element("code", {}, field), " ", element("span", {}, coded(found))));
  if (group.length > SHOWN) shown.push(element("li", { class: "muted" }, `and ${group.length - SHOWN} more`));
  return element("ul", { class: "places", role: "list" }, ...shown);
}

function spoken(check) {
  const text = check.replaceAll("-", " ").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
