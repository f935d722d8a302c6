// What is shown while bytes are on their way: a bar, figures for the eye, and few words for a screen reader.
import { size } from "../files.js";

const STATES = {
  reading: "Reading the files.",
  sending: "Sending.",
  paused: "Paused. What came stays on the hub.",
  lost: "The connection was lost. Nothing that came is lost; trying again.",
  finishing: "Everything is here. Making the release.",
};

export class Figures {
  constructor(form) {
    this.bar = form.querySelector("[data-send-bar]");
    this.figures = form.querySelector("[data-figures]");
    this.status = form.querySelector("[data-status]");
  }

  reading(done, total) {
    this.state("reading");
    this.fill(done, total);
    this.figures.textContent = `${size(done)} of ${size(total)} read`;
  }

  sending({ state, received, total, found, rate, left, pause }) {
    this.state(state);
    this.fill(received, total);
    const parts = [`${size(received)} of ${size(total)}`];
    if (state === "sending" && rate) parts.push(`${size(rate)} a second`, `${duration(left)} left`);
    if (state === "lost") parts.push(`again in ${Math.round(pause / 1000)} s`);
    if (found) parts.push(`${size(found)} were here already`);
    this.figures.textContent = parts.join(", ");
  }

  // Said once for each state: who listens is not told every byte.
  state(state) {
    if (this.now === state) return;
    this.now = state;
    this.say(STATES[state]);
  }

  fill(done, total) {
    this.bar.hidden = false;
    this.bar.max = Math.max(1, total);
    this.bar.value = done;
  }

  end(words) {
    this.now = "";
    this.bar.hidden = true;
    this.figures.textContent = "";
    this.say(words);
  }

  say(words) {
    this.status.textContent = words;
  }
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
