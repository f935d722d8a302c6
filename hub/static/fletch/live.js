// Keeps a part of the page fresh: fetches its fragment again until the fragment says that it is settled.
const EVERY = 2000;
const LONGEST = 30000;

export function keepLive(part) {
  let wait = EVERY;

  async function refresh() {
    if (document.hidden) return again(EVERY);
    try {
      const answer = await fetch(part.dataset.live, { headers: { Accept: "text/html", "X-Requested-With": "XMLHttpRequest" }, credentials: "same-origin" });
      if (answer.redirected || answer.status === 404) return;
      if (!answer.ok) throw new Error(answer.status);
      if (show(await answer.text())) return;
      wait = EVERY;
    } catch {
      wait = Math.min(wait * 2, LONGEST);
    }
    again(wait);
  }

  function again(after) {
    setTimeout(refresh, after);
  }

  // Returns whether the work is settled or at another stage; then the whole page is read again, because more of it
  // has changed.
  function show(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    if (fresh.dataset.settled !== undefined || fresh.dataset.stage !== part.dataset.stage) {
      location.reload();
      return true;
    }
    if (fresh.innerHTML !== part.innerHTML) {
      const open = [...part.querySelectorAll("details")].map((details) => details.open);
      part.replaceChildren(...fresh.childNodes);
      part.querySelectorAll("details").forEach((details, number) => (details.open = open[number] ?? details.open));
      part.querySelectorAll(".log").forEach((log) => (log.scrollTop = log.scrollHeight));
    }
    return false;
  }

  again(EVERY);
}
