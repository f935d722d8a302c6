// Small comforts on every page. Nothing here is needed to use the hub.
import { keepLive } from "./live.js";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = button.dataset.copy || button.closest(".snippet").querySelector("code").textContent;
    const label = button.querySelector("span");
    const before = label.textContent;
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    setTimeout(() => (label.textContent = before), 1600);
  });
}

// A menu closes when one clicks elsewhere or presses Escape.
const menus = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => menus().forEach((menu) => menu.contains(event.target) || menu.removeAttribute("open")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  menus().forEach((menu) => {
    menu.removeAttribute("open");
    menu.querySelector("summary").focus();
  });
});

// "/" goes to the search, unless one is writing.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = [...document.querySelectorAll("[role=search] input[type=search]")].find((field) => field.checkVisibility());
  if (!search) return;
  event.preventDefault();
  search.select();
  search.focus();
});

// Where not all tabs are in sight, the one that one is on is.
for (const here of document.querySelectorAll(".tabs [aria-current]")) {
  const strip = here.closest(".tabs");
  if (strip.scrollWidth > strip.clientWidth) here.scrollIntoView({ block: "nearest", inline: "center" });
}

// A form that was sent is not sent twice.
for (const form of document.querySelectorAll("form[method=post]:not([data-upload])")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 4000);
  });
}

document.querySelectorAll("[data-live]").forEach(keepLive);
