// What was typed survives a reload of the page in this tab. Files cannot: the browser gives them to no page again.
const KEY = "fletch-upload";
const NAMES = ["name", "message", "library", "private", "card", "owner"];

export function remember(form) {
  form.addEventListener("input", () => {
    const said = Object.fromEntries([...new FormData(form)].filter(([name]) => NAMES.includes(name)));
    sessionStorage.setItem(KEY, JSON.stringify({ ...said, at: location.pathname }));
  });
}

// An address that names an adapter counts more than what was typed before.
export function recall(form) {
  const said = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
  if (said.at !== location.pathname || form.elements.name.value || document.querySelector("[data-refusals]").childElementCount) return;
  for (const name of ["name", "message", "card"]) if (!form.elements[name].value) form.elements[name].value = said[name] ?? "";
  form.elements.private.checked = said.private === "on";
  for (const name of ["library", "owner"]) {
    const radio = [...form.querySelectorAll(`[name=${name}]`)].find(({ value }) => value === said[name]);
    if (radio) radio.checked = true;
  }
}

export function forget() {
  sessionStorage.removeItem(KEY);
}
