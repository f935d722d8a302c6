// The playground with streams: the form asks without leaving the page, for both columns at once.
// Without this the form is sent like any other, and the answers come as a page.
import { Answer, countAnew } from "./play_answer.js";

const form = document.querySelector("[data-play]");
if (form) play(form);

function play(form) {
  document.documentElement.classList.add("enhanced");
  const field = (name) => form.elements[name];
  const part = (name) => form.querySelector(`[data-${name}]`);
  const columns = ["a", "b"].map((name) => {
    const turns = form.querySelector(`[data-turns=${name}]`);
    return { name, turns, answer: new Answer(form.querySelector(`[data-column=${name}]`)) };
  });
  const conversation = ({ turns }) => JSON.parse(turns.value || "[]");
  const said = part("said");
  let under = null;

  // Without what is empty and what belongs to this visit.
  function settings() {
    const found = [...new FormData(form)].filter(([name, value]) => value !== "" && name !== "csrfmiddlewaretoken");
    const kept = found.filter(([name]) => name !== "prompt" && !name.endsWith("-turns"));
    return field("private")?.checked === false ? [...kept, ["private", ""]] : kept;
  }

  function titleOf(name) {
    const who = field(`${name}-who`).value;
    if (who === "base") return "The plain base";
    if (who === "expert") return field(`${name}-expert`).value;
    const version = field(`${name}-version`).value;
    const router = field(`${name}-router`).value;
    return (router ? `Router ${router}` : "The composed model") + (version ? `, version ${version}` : "");
  }

  async function ask() {
    if (under || !form.reportValidity()) return;
    const chosen = field("compare").checked ? columns : columns.slice(0, 1);
    under = new AbortController();
    busy(true);
    said.textContent = "Answering.";
    countAnew();
    columns[1].answer.column.hidden = chosen.length < 2;
    const prompt = field("prompt").value;
    const chat = field("mode").value === "chat";
    // What is sent is what is asked, whatever is typed meanwhile.
    const sent = new FormData(form);
    await Promise.all(chosen.map((column) => answer(column, { prompt, chat, sent, signal: under.signal })));
    tell(chosen);
    if (chat && chosen.every(({ answer }) => answer.whole)) field("prompt").value = "";
    under = null;
    busy(false);
  }

  async function answer(column, { prompt, chat, sent, signal }) {
    const turns = conversation(column);
    const shown = column.answer;
    shown.whole = false;
    shown.begin({ title: titleOf(column.name), turns, asked: prompt, chat });
    try {
      const answer = await fetch(form.dataset.ask + column.name, {
        method: "POST",
        body: sent,
        signal,
        credentials: "same-origin",
        headers: { Accept: "application/json" },
      });
      if (!answer.ok) return shown.fail(await refusal(answer));
      for await (const event of events(answer.body)) {
        shown.hear(event);
        shown.whole ||= event.kind === "ended";
      }
      if (!shown.whole && !shown.part("trouble").hasChildNodes()) shown.fail("The answer broke off: the hub went away in the middle of it.");
    } catch (error) {
      if (error.name === "AbortError") shown.stop();
      else shown.fail("The hub cannot be reached. Is your network there?");
    }
    if (chat && shown.text) {
      const after = [...turns, { role: "user", content: prompt }, { role: "assistant", content: shown.text }];
      column.turns.value = JSON.stringify(after);
      part("fresh").hidden = false;
    }
  }

  // Heard once, when all is there: an answer that is read out word by word cannot be understood.
  function tell(chosen) {
    const parts = chosen.map(({ name, answer }) => {
      const speakers = answer.led().slice(0, 3).map(([expert, led]) => `${expert} led ${led} of ${answer.tokens.length} tokens`);
      return `${titleOf(name)} answered: ${answer.text} ${speakers.length ? `${speakers.join(", ")}.` : ""}`;
    });
    said.textContent = parts.join(" ");
  }

  function busy(now) {
    part("stop").hidden = !now;
    part("go").disabled = now;
  }

  if (navigator.clipboard) offerLink();
  fill(location.hash);
  if (!part("go")) return; // whoever must sign in first

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  part("stop").addEventListener("click", () => under?.abort());
  field("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    ask();
  });
  askWhatWasCarried();

  function offerLink() {
    const button = part("link");
    button.hidden = false;
    button.addEventListener("click", async () => {
      const query = new URLSearchParams(settings());
      const link = new URL(`${location.pathname}?${query}#${new URLSearchParams({ prompt: field("prompt").value })}`, location.href);
      await navigator.clipboard.writeText(link.href);
      history.replaceState(null, "", link);
      part("link-words").hidden = false;
      const label = button.querySelector("span");
      const before = label.textContent;
      label.textContent = "Copied";
      setTimeout(() => (label.textContent = before), 1600);
    });
  }

  // A prompt may stand behind the # of the address. It waits until somebody asks.
  function fill(hash) {
    const prompt = new URLSearchParams(hash.slice(1)).get("prompt");
    if (prompt) field("prompt").value = prompt;
  }

  // One that was sent from another page of ours is asked at once.
  function askWhatWasCarried() {
    const carried = sessionStorage.getItem("fletch-ask");
    sessionStorage.removeItem("fletch-ask");
    if (!carried) return;
    field("prompt").value = carried;
    ask();
  }
}

async function refusal(answer) {
  try {
    return (await answer.json()).detail;
  } catch {
    return answer.status === 403 ? "This page is too old. Load it again, and ask again." : `The hub failed with status ${answer.status}.`;
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}
