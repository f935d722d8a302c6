// Swagger UI has a dark look, and leaves it to the page to ask for it. Not a module: before anything is drawn.
{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
}
