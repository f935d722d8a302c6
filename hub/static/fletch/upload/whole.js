// An archive that the hub has to open goes as it is, in one request: such a request cannot be gone on with.
export function sendWhole(form, archive, card, progress) {
  const data = new FormData(form);
  for (const name of ["files", "archive", "paths", ...(card ? [] : ["card", "license", "language", "tags"])]) data.delete(name);
  data.append("archive", archive, archive.name);
  const request = new XMLHttpRequest();
  const answer = new Promise((done, refuse) => {
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    request.setRequestHeader("Accept", "text/html");
    request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => done({ where: request.getResponseHeader("Location"), status: request.status, page: request.responseText }));
    request.addEventListener("error", () => refuse(new Error("The connection was lost or refused. Nothing was kept; send again.")));
    request.addEventListener("abort", () => refuse(new Error("Stopped. Nothing was kept.")));
    request.send(data);
  });
  return { answer, stop: () => request.abort() };
}
