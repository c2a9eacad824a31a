// Light or dark as the system says. Loaded before the styles apply, so that nothing flashes.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light";
    document.dispatchEvent(new CustomEvent("aimass:theme"));
  };
  apply();
  dark.addEventListener("change", apply);
})();
