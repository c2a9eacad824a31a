// The upload page: files chosen or dropped go to the server piece by piece, each with its progress. Without scripts, or where
// tus-js-client does not run, the form sends one file as it is.
(() => {
  const form = document.querySelector("form[data-upload]");
  if (!form || !window.tus?.isSupported || !window.aimass?.Transfer) return;
  const setting = (name) => form.getAttribute(`data-${name}`); // not form.dataset: that is the field of this name
  const input = form.querySelector("input[type=file]");
  const dialog = document.querySelector("[data-transfer-dialog]");
  const list = document.querySelector("[data-transfers]");
  const template = document.querySelector("[data-transfer-row]");
  const texts = JSON.parse(document.getElementById("upload-texts").textContent);
  const endpoint = new URL(setting("endpoint"), window.location.href).toString();
  const limit = Number(setting("limit")) || Infinity;
  const AT_ONCE = 2;
  const rows = new Map(); // transfer → its <li>

  input.multiple = true;
  form.querySelector("[data-upload-hint]").hidden = false;

  const language = document.documentElement.lang;
  const unit = (value, name, digits = 0, style = "short") => new Intl.NumberFormat(language, {
    style: "unit", unit: name, unitDisplay: style, maximumFractionDigits: digits, minimumFractionDigits: digits,
  }).format(value);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_whole, name) => values[name] ?? "");

  function size(bytes, perSecond = "") {
    const names = ["byte", "kilobyte", "megabyte", "gigabyte"];
    const power = bytes < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log(bytes) / Math.log(1024)));
    return unit(bytes / 1024 ** power, names[power] + perSecond, power < 2 ? 0 : 1);
  }

  function time(seconds) {
    if (seconds < 60) return unit(Math.max(1, Math.ceil(seconds)), "second", 0, "long");
    return seconds < 5400 ? unit(Math.ceil(seconds / 60), "minute", 0, "long") : unit(seconds / 3600, "hour", 1, "long");
  }

  function sentence(transfer) {
    const values = { done: size(transfer.sent), size: size(transfer.file.size) };
    const key = transfer.text in texts ? transfer.text : "";
    if (key) return fill(texts[key], values);
    if (transfer.text) return transfer.text;
    if (transfer.state !== "sending" || !transfer.speed) return fill(texts[transfer.state], values);
    return fill(texts.moving, { ...values, speed: size(transfer.speed, "-per-second"), left: time(transfer.secondsLeft) });
  }

  function show(transfer) {
    const row = rows.get(transfer);
    if (!row) return;
    const part = (name) => row.querySelector(`[data-${name}]`);
    const share = transfer.file.size ? transfer.sent / transfer.file.size : 0;
    part("bar").value = transfer.state === "arrived" || transfer.state === "checking" ? 1 : share;
    part("bar").hidden = ["refused", "cancelled"].includes(transfer.state);
    part("percent").textContent = part("bar").hidden ? "" : new Intl.NumberFormat(language, { style: "percent" }).format(Math.floor(part("bar").value * 100) / 100);
    part("state").textContent = sentence(transfer);
    part("state").classList.toggle("text-danger", transfer.state === "refused" || (transfer.state === "paused" && Boolean(transfer.text)));
    if (row.dataset.state !== transfer.state) { // read aloud, unlike each step of the progress
      row.dataset.state = transfer.state;
      part("status").textContent = `${transfer.file.name}: ${sentence(transfer)}`;
    }
    part("pause").hidden = !["sending", "offline"].includes(transfer.state);
    part("resume").hidden = transfer.state !== "paused";
    part("cancel").hidden = transfer.isOver || transfer.state === "checking";
    part("check").hidden = !transfer.upload;
    if (transfer.upload) part("check").href = setting("preview").replace("00000000-0000-0000-0000-000000000000", transfer.upload);
    if (transfer.url) document.querySelector(`[data-unfinished="${new URL(transfer.url).pathname}"]`)?.remove();
    const left = document.querySelector("[data-unfinished-list]");
    if (left && !left.querySelector("[data-unfinished]")) left.remove();
  }

  function changed(transfer) {
    show(transfer);
    if (transfer.state === "arrived" && rows.size === 1 && transfer.upload) {
      window.location.assign(rows.get(transfer).querySelector("[data-check]").href);
      return;
    }
    next();
  }

  function next() {
    const running = [...rows.keys()].filter((transfer) => transfer.isRunning || transfer.opening).length;
    const waiting = [...rows.keys()].filter((transfer) => transfer.state === "waiting" && !transfer.opening);
    waiting.slice(0, Math.max(0, AT_ONCE - running)).forEach(async (transfer) => {
      transfer.opening = true;
      await transfer.start();
      transfer.opening = false;
    });
  }

  // Whether the person really wants to lose what has been sent.
  function asked(transfer) {
    return new Promise((resolve) => {
      dialog.querySelector("[data-dialog-name]").textContent = transfer.file.name;
      dialog.returnValue = "";
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
      dialog.showModal();
    });
  }

  function add(file) {
    const transfer = new window.aimass.Transfer(
      file, { endpoint, pieceBytes: Number(setting("piece")), dataset: form.elements.dataset.value }, changed,
    );
    if ([...rows.keys()].some((other) => other.print === transfer.print && !other.isOver)) return;
    const row = template.content.firstElementChild.cloneNode(true);
    row.querySelector("[data-name]").textContent = file.name;
    row.querySelector("[data-bar]").setAttribute("aria-label", file.name);
    ["pause", "resume", "cancel", "check"].forEach((name) => { // which file a button is for, for those who do not see the row
      const button = row.querySelector(`[data-${name}]`);
      button.setAttribute("aria-label", `${button.textContent}: ${file.name}`);
    });
    row.querySelector("[data-pause]").addEventListener("click", () => { transfer.pause(); row.querySelector("[data-resume]").focus(); });
    row.querySelector("[data-resume]").addEventListener("click", () => { transfer.resume(); row.querySelector("[data-pause]").focus(); });
    row.querySelector("[data-cancel]").addEventListener("click", async () => {
      if (await asked(transfer) && !transfer.isOver) await transfer.cancel();
    });
    rows.set(transfer, row);
    list.append(row);
    list.hidden = false;
    if (file.size > limit) transfer.become("refused", "tooLarge");
    else show(transfer);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation(); // app.js would take it for a form that has been sent
    [...input.files].forEach(add);
    input.value = "";
    next();
  });

  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!event.dataTransfer || !event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    input.focus();
  });
  window.addEventListener("online", () => rows.forEach((_row, transfer) => transfer.backOnline()));
  // A page that is left and come back to (back button) has lost its connections.
  window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });
})();
