// Asking the hub: in JSON, by the session, with its refusals as errors that say what a person can do.
export class Refused extends Error {
  constructor(status, said) {
    super(said?.detail || `The hub answered ${status}.`);
    this.status = status;
    this.findings = said?.findings ?? [];
  }
}

export class Unreachable extends Error {}

const ENDED = "You are no longer signed in. Sign in in another tab, then go on here.";
const token = () => document.querySelector("[name=csrfmiddlewaretoken]").value;

export function post(where, document) {
  return ask(where, { method: "POST", body: JSON.stringify(document), headers: { "Content-Type": "application/json" } });
}

export function postForm(where, fields, signal) {
  return ask(where, { method: "POST", body: new URLSearchParams(fields), signal });
}

export async function ask(where, options = {}) {
  const headers = { Accept: "application/json", "X-CSRFToken": token(), ...options.headers };
  let answer;
  try {
    answer = await fetch(where, { credentials: "same-origin", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The hub cannot be reached.");
  }
  return said(answer.status, await answer.text());
}

// A form of a page: the address of what was made, or a refusal with the page that says why.
export async function postWhole(where, data) {
  let answer;
  try {
    answer = await fetch(where, { method: "POST", body: data, credentials: "same-origin", headers: { Accept: "text/html", "X-Requested-With": "XMLHttpRequest" } });
  } catch {
    throw new Unreachable("The hub cannot be reached.");
  }
  if (answer.status === 201) return answer.headers.get("Location");
  if (answer.status >= 500 && answer.status !== 507) throw new Unreachable(`The hub answered ${answer.status}.`);
  if (answer.redirected) throw new Refused(401, { detail: ENDED });
  const refused = new Refused(answer.status, { detail: "Not accepted. What to mend is listed above the form." });
  refused.page = new DOMParser().parseFromString(await answer.text(), "text/html");
  throw refused;
}

// A body that is sent with progress, which fetch does not tell; `started` gets the means to stop it.
export function send(where, body, { progress, started }) {
  return new Promise((done, refuse) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", where);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("load", () => {
      try {
        done(said(request.status, request.responseText));
      } catch (error) {
        refuse(error);
      }
    });
    request.addEventListener("error", () => refuse(new Unreachable("The connection was lost.")));
    request.addEventListener("abort", () => refuse(new DOMException("stopped", "AbortError")));
    started(() => request.abort());
    request.send(body);
  });
}

function said(status, text) {
  const document = parsed(text);
  if (status >= 500 && status !== 507) throw new Unreachable(document?.detail || `The hub answered ${status}.`);
  if (status === 401) throw new Refused(status, { detail: ENDED });
  if (status >= 400) throw new Refused(status, document);
  return document;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
