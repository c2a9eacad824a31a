// Small helps that the pages also do without: menus close, double submits do not happen, details open for print.
(() => {
  const openMenus = () => document.querySelectorAll("details.menu[open]");

  document.addEventListener("click", (event) => {
    openMenus().forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    openMenus().forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  });

  // A second click on a slow form sends nothing. The button stays enabled so that its own name and value are sent.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    document.querySelectorAll("form[data-sent]").forEach((form) => {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    });
  });

  // <select data-submit> sends its form when changed; the form also has a button for those without scripts.
  document.addEventListener("change", (event) => {
    const field = event.target.closest("[data-submit]");
    if (field && field.form) field.form.requestSubmit();
  });

  // data-shown-by="field" data-shown-for="value value": seen, and sent, only while that field has one of the values.
  const showWhatFits = () => {
    document.querySelectorAll("[data-shown-by]").forEach((part) => {
      const form = part.closest("form");
      const chosen = form && new FormData(form).get(part.dataset.shownBy);
      part.hidden = !part.dataset.shownFor.split(" ").includes(chosen);
      part.querySelectorAll("input, select, textarea").forEach((field) => { field.disabled = part.hidden; });
    });
  };
  document.addEventListener("change", showWhatFits);
  document.addEventListener("DOMContentLoaded", showWhatFits);
  window.addEventListener("pageshow", showWhatFits);

  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("main details:not([open]):not(.menu)").forEach((details) => {
      details.dataset.printed = "yes";
      details.open = true;
    });
  });
  window.addEventListener("afterprint", () => {
    document.querySelectorAll("details[data-printed]").forEach((details) => {
      delete details.dataset.printed;
      details.open = false;
    });
  });
})();
