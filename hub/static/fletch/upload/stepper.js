// One step of a form at a time. What was filled in stays, every step is a button and an address (#card).
const PREFIX = "step-";

export class Stepper {
  // `entering` hears the name of a step that is about to be shown.
  constructor(form, entering) {
    this.form = form;
    this.entering = entering;
    this.steps = [...form.querySelectorAll("[data-step]")];
    this.list = form.querySelector("[data-steps]");
    this.buttons = this.steps.map((step, number) => this.button(step, number));
    window.addEventListener("popstate", () => this.show(this.named(location.hash), { focus: true }));
    this.steps.forEach((step, number) => step.append(this.ways(number)));
    this.show(this.named(location.hash), { focus: false });
  }

  get current() {
    return this.steps.findIndex((step) => !step.hidden);
  }

  go(number) {
    history.pushState(null, "", `#${this.steps[number].id.slice(PREFIX.length)}`);
    this.show(number, { focus: true });
  }

  goTo(name) {
    this.go(this.named(`#${name}`));
  }

  // "done", "noted", "wrong" or nothing, which a screen reader hears too.
  mark(name, state) {
    const button = this.buttons[this.named(`#${name}`)];
    button.dataset.state = state;
    button.querySelector("[data-said]").textContent = { done: "(done)", noted: "(done, with a note)", wrong: "(something is missing or wrong)" }[state] ?? "";
  }

  named(hash) {
    return Math.max(0, this.steps.findIndex((step) => `#${step.id.slice(PREFIX.length)}` === hash));
  }

  show(number, { focus }) {
    this.entering(this.steps[number].id.slice(PREFIX.length));
    this.steps.forEach((step, other) => (step.hidden = other !== number));
    this.buttons.forEach((button, other) => {
      if (other === number) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    if (focus) this.steps[number].querySelector("h2").focus();
  }

  button(step, number) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = String(number + 1);
    const said = document.createElement("span");
    said.className = "unseen";
    said.dataset.said = "";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = step.dataset.step;
    button.append(mark, name, said);
    button.addEventListener("click", () => this.go(number));
    item.append(button);
    this.list.append(item);
    return button;
  }

  ways(number) {
    const ways = document.createElement("div");
    ways.className = "actions ways";
    if (number > 0) ways.append(this.way("Back", number - 1, ""));
    if (number < this.steps.length - 1) ways.append(this.way("Next", number + 1, "primary"));
    return ways;
  }

  way(word, to, kind) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `button ${kind}`.trim();
    button.textContent = `${word}: ${this.steps[to].dataset.step.toLowerCase()}`;
    button.addEventListener("click", () => this.go(to));
    return button;
  }
}
