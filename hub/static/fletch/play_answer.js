// One column of a playground: an answer as it comes, who led each of its tokens, and where.
const COLOURS = 6;
const BASE = "the plain base";
const SHOWN = 600; // characters of a prompt before its answer
const numbers = new Map(); // of experts, in both columns the same

// Each question begins with number 1 again.
export function countAnew() {
  numbers.clear();
}

function numberOf(name) {
  if (name === null) return null;
  if (!numbers.has(name)) numbers.set(name, numbers.size + 1);
  return numbers.get(name);
}

const colourOf = (number) => (number === null ? 0 : ((number - 1) % COLOURS) + 1);
const classOf = (number) => `c${colourOf(number)}${number > COLOURS ? " again" : ""}`;
const percent = (part) => `${Math.round(100 * part)}%`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export class Answer {
  constructor(column) {
    this.column = column;
    this.part = (name) => column.querySelector(`[data-${name}]`);
    this.said = this.part("tokens");
    this.said.addEventListener("click", (event) => this.#choose(this.#spans().indexOf(event.target)));
    this.said.addEventListener("keydown", (event) => this.#walk(event));
    this.clear();
  }

  clear() {
    this.tokens = [];
    this.experts = [];
    this.places = [];
    this.shares = new Map();
    this.chosen = -1;
    for (const name of ["tokens", "trouble", "facts", "speakers", "grid"]) this.part(name)?.replaceChildren();
    for (const name of ["who", "where", "snippets"]) this.part(name).hidden = true;
  }

  get text() {
    return this.tokens.map((token) => token.text).join("");
  }

  begin({ title, turns, asked, chat }) {
    this.clear();
    this.column.hidden = false;
    this.part("head").textContent = title;
    const end = (asked.length > SHOWN ? "…" : "") + asked.slice(-SHOWN);
    const before = chat ? [...turns, { role: "user", content: end }] : [];
    this.part("before").replaceChildren(...before.map(turnShown));
    if (!chat) this.said.append(element("span", { className: "given", textContent: end }));
    this.said.setAttribute("aria-busy", "true");
  }

  hear(event) {
    if (event.kind === "asked") this.#offer(event.snippets);
    if (event.kind === "modules") this.places.push(...event.places);
    if (event.kind === "heard") this.#take(event);
    if (event.kind === "ended") this.#end(event);
    if (event.kind === "trouble") this.fail(event.words);
  }

  fail(words) {
    const alert = element("div", { className: "alert bad" }, element("div", { textContent: words }));
    alert.setAttribute("role", "alert");
    this.part("trouble").replaceChildren(alert);
    this.settle();
  }

  stop() {
    this.part("facts").textContent = `Stopped after ${this.tokens.length} tokens.`;
    this.settle();
  }

  settle() {
    this.said.removeAttribute("aria-busy");
    if (this.tokens.length) this.#who();
  }

  #take({ tokens, experts }) {
    this.experts.push(...experts);
    for (const token of tokens) {
      const name = token.expert === null ? null : this.experts[token.expert];
      const number = numberOf(name);
      const span = element("span", { className: `token ${classOf(number)}`, textContent: token.text });
      if (this.routed || name) span.title = `${name ?? BASE}, ${percent(token.share)}`;
      if (number && this.tokens.at(-1)?.number !== number) span.dataset.n = number;
      this.said.append(span);
      this.tokens.push({ ...token, name, number });
    }
  }

  get routed() {
    return this.places.length > 0;
  }

  #end({ finish, version, shares, completion_tokens: written }) {
    this.shares = new Map(shares);
    const facts = [`${written.toLocaleString("en")} tokens`];
    if (finish === "length") facts.push("cut at the longest that was allowed");
    if (version) facts.push(`index version ${version}`);
    this.part("facts").textContent = `${facts.join(", ")}.`;
    this.settle();
  }

  #offer(snippets) {
    const list = this.part("snippet-list");
    list.replaceChildren(
      ...snippets.map(({ title, text }) => {
        const code = element("pre", { tabIndex: 0 }, element("code", { textContent: text }));
        code.setAttribute("aria-label", title);
        const head = element("div", { className: "snippet-head" }, element("span", { textContent: title }));
        if (navigator.clipboard) head.append(copying(text));
        return element("div", { className: "snippet" }, head, code);
      }),
    );
    this.part("snippets").hidden = false;
  }

  led() {
    const count = new Map();
    for (const { name } of this.tokens) if (name) count.set(name, (count.get(name) ?? 0) + 1);
    return [...count].sort((one, other) => other[1] - one[1]);
  }

  #who() {
    const whole = this.tokens.length;
    const rows = this.led().map(([name, led]) => {
      const number = numberOf(name);
      const share = this.shares.get(name);
      const rest = share === undefined ? "" : `; ${percent(share)} of all weight, prompt included`;
      return element(
        "li",
        { className: classOf(number) },
        element("span", { className: "number", textContent: number }),
        element("a", { href: `/${name}`, textContent: name }),
        drawn(
          "svg",
          { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
          drawn("rect", { class: "rail", width: 100, height: 6 }),
          drawn("rect", { class: "bar", width: ((100 * led) / whole).toFixed(1), height: 6 }),
        ),
        element("span", { className: "muted small", textContent: `led ${led} of ${whole} tokens${rest}` }),
      );
    });
    const nobody = element("li", { className: "c0" }, element("span", { className: "number", textContent: "–" }), "The plain base alone");
    this.part("speakers").replaceChildren(...(rows.length ? rows : [nobody]));
    this.part("who").hidden = false;
    this.part("where").hidden = !this.routed;
    if (this.routed) this.#grid(this.#overall(), "Who led at each layer and module, over the whole answer. Choose a word to see it for that word alone.");
  }

  // For each module the expert with the most weight over all tokens, and its mean weight.
  #overall() {
    const traced = this.tokens.filter((token) => token.modules.length);
    return this.places.map((_, place) => {
      const sums = new Map();
      for (const { modules } of traced) {
        const [expert, weight] = modules[place];
        if (expert !== null) sums.set(expert, (sums.get(expert) ?? 0) + weight);
      }
      const [expert, weight] = [...sums].reduce((best, one) => (one[1] > best[1] ? one : best), [null, 0]);
      return [expert, weight / Math.max(1, traced.length)];
    });
  }

  #grid(found, words) {
    this.part("chosen").textContent = words;
    const layers = [...new Set(this.places.map(([layer]) => layer))].sort((one, other) => one - other);
    const kinds = [...new Set(this.places.map(([, kind]) => kind))].sort();
    const at = new Map(this.places.map(([layer, kind], place) => [`${layer} ${kind}`, found[place]]));
    const heading = (text, scope) => Object.assign(element("th", { textContent: text }), { scope });
    const rows = kinds.map((kind) =>
      element("tr", {}, heading(kind, "row"), ...layers.map((layer) => this.#cell(at.get(`${layer} ${kind}`)))),
    );
    const table = element("table", { className: "grid" });
    table.append(
      element("caption", { className: "unseen", textContent: "The number of the expert that led, by kind of module and layer" }),
      element("thead", {}, element("tr", {}, element("td"), ...layers.map((layer) => heading(layer, "col")))),
      element("tbody", {}, ...rows),
    );
    this.part("grid").replaceChildren(table);
    this.#others(found);
  }

  // What the numbers mean that are in the grid and not among the speakers above it.
  #others(found) {
    const led = new Map(this.led());
    const names = new Set(found.map(([expert]) => (expert === null ? null : this.experts[expert])));
    const rest = [...names].filter((name) => name && !led.has(name)).sort((one, other) => numberOf(one) - numberOf(other));
    this.part("others").replaceChildren(
      ...rest.map((name) => element("span", {}, element("b", { textContent: numberOf(name) }), ` ${name}`)),
    );
  }

  #cell(found) {
    if (!found) return element("td", { className: "absent" });
    const name = found[0] === null ? null : this.experts[found[0]];
    const number = numberOf(name);
    const strength = name ? Math.min(4, 1 + Math.floor(found[1] / 25)) : 0;
    return element("td", {
      className: `${classOf(number)} w${strength}`,
      title: `${name ?? BASE}, ${Math.round(found[1])}%`,
      textContent: number ?? "–",
    });
  }

  #spans() {
    return [...this.said.querySelectorAll(".token")];
  }

  #walk(event) {
    const last = this.tokens.length - 1;
    const to = { ArrowRight: this.chosen + 1, ArrowLeft: this.chosen - 1, Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey || last < 0) return;
    event.preventDefault();
    this.#choose(event.key === "Escape" ? -1 : Math.min(Math.max(to, 0), last));
  }

  // The heat-map of one token; of the whole answer where it was chosen already, or none is.
  #choose(place) {
    const again = place === this.chosen;
    this.#spans()[this.chosen]?.classList.remove("chosen");
    this.chosen = again ? -1 : place;
    const token = this.tokens[this.chosen];
    if (!token) return this.settle();
    this.#spans()[this.chosen].classList.add("chosen");
    if (!this.routed || !token.modules.length) return;
    this.#grid(token.modules, `${token.text.trim() ? `“${token.text.trim()}”` : "White space"}: ${token.name ?? BASE} led with ${percent(token.share)} of the weight. Choose it again for the whole answer.`);
  }
}

function turnShown({ role, content }) {
  const who = element("span", { className: "unseen", textContent: role === "user" ? "Asked: " : "Answered: " });
  return element("li", { className: role, dir: "auto" }, who, content.trim());
}

function copying(text) {
  const label = element("span", { textContent: "Copy" });
  const button = element("button", { className: "copy", type: "button" }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    setTimeout(() => (label.textContent = "Copy"), 1600);
  });
  return button;
}
