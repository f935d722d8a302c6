// What would come of a choice, while one chooses. Without this a button asks for it.
const chooser = document.querySelector("[data-builder]");
const review = document.querySelector("[data-part=review]");
const AFTER = 250; // milliseconds without another change
let timer;
let under;

chooser.querySelector("[data-no-script]").hidden = true;

function address() {
  const said = [...new FormData(chooser)].filter(([, value]) => value !== "");
  return `${chooser.action}?${new URLSearchParams(said)}`;
}

async function look() {
  under?.abort();
  under = new AbortController();
  const { signal } = under;
  const wanted = address();
  review.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(wanted, { signal, headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) return chooser.submit(); // the page that says why
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    review.replaceChildren(...fresh.querySelector("[data-part=review]").childNodes);
    history.replaceState(null, "", wanted);
  } catch (error) {
    if (error.name !== "AbortError") chooser.submit();
  } finally {
    if (!signal.aborted) review.removeAttribute("aria-busy");
  }
}

chooser.addEventListener("input", (event) => {
  clearTimeout(timer);
  if (event.target.name === "version") return chooser.submit(); // other experts to choose from
  timer = setTimeout(look, AFTER);
});
