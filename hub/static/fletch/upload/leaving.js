// While files are sent: who leaves the page is asked first, unless it pauses, since what came stays.

function ward(event) {
  event.preventDefault();
}

export function guard(on) {
  if (on) window.addEventListener("beforeunload", ward);
  else window.removeEventListener("beforeunload", ward);
}

// `sending()` is what is under way when the button is pressed.
export function pausing(button, sending) {
  button.addEventListener("click", () => {
    const under = sending();
    if (under.paused) under.resume();
    else under.pause();
    button.textContent = under.paused ? "Go on" : "Pause";
    guard(!under.paused);
  });
}
