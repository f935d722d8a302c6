// Results while one types. Without this the form is sent like any other, and answers the same.
const finder = document.querySelector("[data-finder]");
const field = finder.querySelector("[data-search]");
const AFTER = 180; // milliseconds without another letter
let timer;
let under;

// The address of what the form asks for, without what it leaves empty.
function address() {
  const said = [...new FormData(finder)].filter(([, value]) => value !== "");
  const query = new URLSearchParams(said).toString();
  return finder.action + (query ? `?${query}` : "");
}

async function look() {
  clearTimeout(timer);
  under?.abort();
  under = new AbortController();
  const { signal } = under;
  const wanted = address();
  const list = document.querySelector("[data-part=found]");
  list.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(wanted, { signal, headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) return finder.submit(); // the page that says why
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    history.replaceState(null, "", wanted);
  } catch (error) {
    if (error.name !== "AbortError") finder.submit();
  } finally {
    if (!signal.aborted) list.removeAttribute("aria-busy");
  }
}

function show(fresh) {
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-part]")) {
    part.replaceChildren(...fresh.querySelector(`[data-part=${part.dataset.part}]`).childNodes);
    const now = part.querySelector("option[selected]");
    if (now) now.selected = true; // each option that moved here was chosen for a moment
  }
  document.querySelector("[data-status]").textContent = document.querySelector("[data-said]").textContent;
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(look, AFTER);
});
for (const control of finder.querySelectorAll("select, [type=checkbox]")) control.addEventListener("change", look);
finder.addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
