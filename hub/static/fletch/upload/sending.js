// Sending what the hub does not have: stretch by stretch, each from where the hub has it, for as long as it takes.
import { ask, post, send, Unreachable } from "./hub.js";

const STRETCH = 16 * 2 ** 20; // what one request sends: a broken one costs no more to begin again
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
const WINDOW = 10_000; // milliseconds over which the rate is measured

export class Sending {
  // `plan` is what the hub is told, `blobs` maps digests to bytes, `tell` hears of every change. `finish` makes the
  // release, and resolves with { url }.
  constructor(plan, blobs, tell, finish = () => post("/upload/finish", plan)) {
    this.plan = plan;
    this.blobs = blobs;
    this.whose = new URLSearchParams({ owner: plan.owner });
    this.tell = tell;
    this.finish = finish;
    this.total = [...blobs.values()].reduce((sum, blob) => sum + blob.size, 0);
    this.here = new Map(); // digest -> bytes that the hub has
    this.marks = []; // [time, bytes] of late
    this.paused = false;
    this.stop = () => {};
  }

  // Resolves with the address of the release. Rejects with what the hub refused.
  async run() {
    const begun = await this.patiently(() => post("/upload/begin", this.plan));
    for (const [sha256, { received }] of Object.entries(begun.here)) this.here.set(sha256, received);
    this.found = this.received();
    for (const [sha256, blob] of this.blobs) if (!begun.here[sha256].complete) await this.sendOne(sha256, blob);
    this.say("finishing");
    return (await this.patiently(() => this.finish())).url;
  }

  pause() {
    this.paused = true;
    this.stop();
    this.say("paused");
  }

  resume() {
    this.paused = false;
    this.marks = [];
    this.wake?.();
  }

  async sendOne(sha256, blob) {
    const where = `/upload/pieces/${sha256}`;
    let at = this.here.get(sha256);
    for (let complete = false; !complete; ) {
      const answer = await this.patiently(() => this.stretch(where, blob, at), where);
      at = answer.received;
      complete = answer.complete;
      this.here.set(sha256, at);
    }
  }

  async stretch(where, blob, at) {
    const sha256 = where.split("/").pop();
    this.say("sending");
    const bytes = await readable(blob.slice(at, at + STRETCH));
    return send(`${where}?offset=${at}&size=${blob.size}&${this.whose}`, bytes, {
      progress: (sent) => {
        if (sent === bytes.byteLength) return; // also said of a connection that broke: what came, the answer says
        this.here.set(sha256, at + sent);
        this.say("sending");
      },
      started: (stop) => (this.stop = stop),
    });
  }

  // Tries until the hub answers. Where bytes were on their way, it is asked first how many of them came.
  async patiently(attempt, where = "") {
    let pause = FIRST_PAUSE;
    let lost = false;
    for (;;) {
      await this.unlessPaused();
      try {
        const here = lost && where ? await ask(`${where}?${this.whose}`) : null;
        if (here) {
          this.here.set(where.split("/").pop(), here.received);
          return here;
        }
        return await attempt();
      } catch (error) {
        lost = true;
        if (error.name === "AbortError") continue;
        if (!(error instanceof Unreachable) && error.status !== 409) throw error;
        if (error.status === 409 && !where) throw error;
        this.say("lost", pause);
        await this.rest(pause);
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    }
  }

  async unlessPaused() {
    while (this.paused) await new Promise((wake) => (this.wake = wake));
  }

  // Until the pause is over, the network is back, or somebody says to go on.
  rest(pause) {
    return new Promise((wake) => {
      const timer = setTimeout(wake, pause);
      this.wake = () => {
        clearTimeout(timer);
        wake();
      };
      window.addEventListener("online", this.wake, { once: true });
    });
  }

  received() {
    return [...this.here.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  say(state, pause = 0) {
    const now = performance.now();
    const received = this.received();
    this.marks = [...this.marks.filter(([at]) => now - at < WINDOW), [now, received]];
    const [since, before] = this.marks[0];
    const rate = now - since > 1000 ? ((received - before) / (now - since)) * 1000 : 0;
    this.tell({ state, received, total: this.total, found: this.found ?? 0, rate, left: rate > 0 ? (this.total - received) / rate : null, pause });
  }
}

// Read before it is sent: the browser says of a file that went away only that the connection failed.
async function readable(blob) {
  try {
    return await blob.arrayBuffer();
  } catch {
    throw new Error("A file was changed or removed after it was chosen. Choose it again; what came stays.");
  }
}
