// Takes a question to the playground, where its answer comes as a stream. Without this the form is sent there.
for (const box of document.querySelectorAll("[data-ask-box]")) {
  box.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("fletch-ask", new FormData(box).get("prompt"));
    location.assign(event.submitter?.formAction ?? box.action);
  });
}
