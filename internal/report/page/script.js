(() => {
  "use strict";
  const form = document.querySelector(".tools");
  const search = document.getElementById("q");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const buttons = [...form.querySelectorAll("[data-filter]")];
  const parts = [...document.querySelectorAll(".part")];
  const controls = [...document.querySelectorAll(".control")].map((element) => ({
    element,
    status: element.dataset.status,
    details: element.querySelector("details"),
    text: element.textContent.toLowerCase(),
  }));

  const pressed = () => buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.filter);
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));

  function apply() {
    const statuses = new Set(pressed());
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const control of controls) {
      const visible = (statuses.size === 0 || statuses.has(control.status)) &&
        words.every((word) => control.text.includes(word));
      control.element.hidden = !visible;
      count += visible;
    }
    for (const part of parts) {
      part.hidden = !part.querySelector(".control:not([hidden])");
      document.querySelector(`[data-nav="${CSS.escape(part.id)}"]`).hidden = part.hidden;
    }
    none.hidden = count > 0;
    shown.textContent = count === controls.length
      ? `${count} controls`
      : `Filtered: ${count} of ${controls.length} controls`;
  }

  // The filters live in the address, so that a view can be passed on.
  function save() {
    const state = new URLSearchParams();
    const statuses = pressed();
    if (statuses.length > 0) state.set("status", statuses.join(","));
    if (search.value.trim() !== "") state.set("q", search.value.trim());
    const hash = state.toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function load() {
    const hash = location.hash.slice(1);
    if (hash !== "" && !hash.includes("=")) {
      const target = document.getElementById(decode(hash));
      if (target && target.closest(".part")) {
        if (target.hidden || target.closest("[hidden]")) clear();
        const details = target.querySelector(":scope > details");
        if (details) details.open = true;
        target.scrollIntoView();
      }
      return;
    }
    const state = new URLSearchParams(hash);
    const statuses = (state.get("status") || "").split(",");
    for (const button of buttons) press(button, !button.disabled && statuses.includes(button.dataset.filter));
    search.value = state.get("q") || "";
    apply();
  }

  function decode(s) {
    try {
      return decodeURIComponent(s);
    } catch {
      return s;
    }
  }

  function clear() {
    for (const button of buttons) press(button, false);
    search.value = "";
    apply();
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      press(button, button.getAttribute("aria-pressed") !== "true");
      apply();
      save();
    });
  }
  search.addEventListener("input", () => { apply(); save(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => { clear(); save(); search.focus(); });
  const fold = (open) => { for (const control of controls) if (!control.element.hidden) control.details.open = open; };
  document.getElementById("unfold").addEventListener("click", () => fold(true));
  document.getElementById("fold").addEventListener("click", () => fold(false));

  addEventListener("hashchange", load);
  form.hidden = false;
  load();
})();
