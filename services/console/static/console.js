// What pages can do beyond forms and links. Everything works without it; nothing here decides anything.
"use strict";

(() => {
  document.documentElement.classList.add("js");

  // --- copying

  async function copy(button) {
    const source = button.closest("[data-copy]").querySelector("[data-copy-text]");
    const label = button.querySelector("[data-copy-label]");
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      label.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      source.select?.();
      label.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (label.textContent = "Copy"), 2000);
  }

  // --- passwords shown on demand

  function reveal(button) {
    const input = document.getElementById(button.dataset.reveal);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.textContent = shown ? "Show" : "Hide";
    button.setAttribute("aria-pressed", String(!shown));
  }

  // --- asking back: what unfolds without script becomes a dialog, made once and kept beside it

  const dialogs = new WeakMap();

  function dialogOf(details) {
    if (dialogs.has(details)) return dialogs.get(details);
    const dialog = document.createElement("dialog");
    const title = details.querySelector(".confirm-title");
    title.id ||= `confirm-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    dialog.setAttribute("aria-labelledby", title.id);
    dialog.append(...details.querySelector(".confirm-body").childNodes);
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-confirm-close]")) dialog.close();
    });
    details.after(dialog);
    dialogs.set(details, dialog);
    return dialog;
  }

  function ask(details) {
    const dialog = dialogOf(details);
    dialog.showModal(); // closing gives the focus back by itself
    const field = dialog.querySelector("input:not([type=hidden], [tabindex='-1']), select, textarea");
    (field ?? dialog.querySelector("[data-confirm-close]"))?.focus();
  }

  // --- forms whose answer takes seconds say so

  addEventListener("submit", (event) => {
    const words = event.target.dataset?.waits;
    const button = event.submitter ?? event.target.querySelector("button");
    if (!words || !button) return;
    button.textContent = words;
    button.setAttribute("aria-busy", "true");
    setTimeout(() => (button.disabled = true)); // after the form was sent
  });

  // --- the menu on a phone

  const menu = () => document.getElementById("nav");

  function openMenu() {
    menu().dataset.open = "";
    document.querySelector("[data-menu-close]").focus();
  }

  function closeMenu() {
    if (menu()?.dataset.open === undefined) return;
    delete menu().dataset.open;
    document.querySelector("[data-menu-open]").focus();
  }

  document.addEventListener("click", (event) => {
    const hit = (selector) => event.target.closest?.(selector);
    if (hit("[data-copy-button]")) return void copy(hit("[data-copy-button]"));
    if (hit("[data-insert]")) return insert(hit("[data-insert]"));
    if (hit("[data-reveal]")) return void reveal(hit("[data-reveal]"));
    if (hit("[data-confirm] > summary")) {
      event.preventDefault();
      return ask(hit("[data-confirm]"));
    }
    if (hit("[data-menu-open]")) {
      event.preventDefault();
      return openMenu();
    }
    if (hit("[data-menu-close]")) {
      event.preventDefault();
      return closeMenu();
    }
    for (const open of document.querySelectorAll(".switcher[open]")) if (!open.contains(event.target)) open.open = false;
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    closeMenu();
    for (const open of document.querySelectorAll(".switcher[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });

  // --- writing copy: the frame beside it follows, and fields are inserted where the caret was

  let lastText;
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.("[data-live-preview] :is(#f-subject, #f-preheader, #f-body)")) lastText = event.target;
  });

  function insert(button) {
    const text = lastText?.isConnected ? lastText : document.getElementById("f-body");
    const from = text.selectionStart;
    text.setRangeText(button.dataset.insert, from, text.selectionEnd, "end");
    text.focus();
    // What stands in for a missing value is to be chosen: typing replaces it.
    const [before, words] = button.dataset.insert.split("'");
    if (words) text.setSelectionRange(from + before.length + 1, from + before.length + 1 + words.length);
    text.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function showPreview(form) {
    const frame = form.querySelector("iframe[name=preview]");
    const button = form.querySelector("[data-preview]");
    if (!button) return;
    const fresh = frame.cloneNode();
    fresh.removeAttribute("src");
    frame.replaceWith(fresh); // a new frame leaves no step in the browser's history
    form.requestSubmit(button);
  }

  // A form that came back with faults holds texts that are not stored: the frame shows them all the same.
  addEventListener("DOMContentLoaded", () => {
    const form = document.querySelector("[data-live-preview]");
    const empty = form?.querySelector("iframe[name=preview]:not([src])");
    if (empty && form.querySelector("#f-body").value) showPreview(form);
  });

  const previews = new WeakMap();
  for (const kind of ["input", "change"]) {
    document.addEventListener(kind, (event) => {
      const form = event.target.closest?.("[data-live-preview]");
      if (!form || event.target.name === "device") return;
      clearTimeout(previews.get(form));
      previews.set(form, setTimeout(() => showPreview(form), 500));
    });
  }

  // --- a name proposes what is made of it, until that is typed

  document.addEventListener("input", (event) => {
    const proposing = event.target.closest?.("[data-proposes]");
    const [name, made] = proposing?.dataset.proposes.split(" ") ?? [];
    if (event.target.name === made) delete proposing.dataset.proposes;
    if (event.target.name !== name) return;
    const plain = event.target.value.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
    proposing.elements[made].value = plain.replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
  });

  // --- a form is sent once

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.submitter?.hasAttribute("formtarget")) return;
    if (form.dataset.sent !== undefined) return event.preventDefault();
    if (form.method === "post" && !(window.htmx && form.hasAttribute("hx-post"))) {
      form.dataset.sent = "";
      setTimeout(() => delete form.dataset.sent, 5000);
    }
  });
  addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach((form) => delete form.dataset.sent));

  // --- what htmx could not fetch

  function toast(text) {
    const box = document.querySelector("[data-toasts]");
    if (!box) return;
    const note = document.createElement("div");
    note.className = "notice bad";
    const words = document.createElement("div");
    words.textContent = text;
    note.append(words);
    box.append(note);
    setTimeout(() => note.remove(), 8000);
  }
  document.addEventListener("htmx:error", () => toast("The console did not answer. Check your connection and try again."));

  // Signed in again, in another tab: what said that nobody is signed in is over.
  document.addEventListener("htmx:after:request", (event) => {
    if (event.detail?.ctx?.response?.status < 400) document.querySelector("[data-signed-out]")?.remove();
  });

  // A part that was to come later says that it will not, in the place of what is shown while it is on its way.
  document.addEventListener("htmx:response:error", (event) => {
    const waiting = event.target.querySelector?.(".loading");
    if (!waiting) return;
    const id = /this id: ([0-9a-f]+)/.exec(event.detail?.ctx?.text ?? "")?.[1];
    const words = document.createElement("p");
    words.className = "muted";
    words.textContent = "This part could not be read. Load the page again in a minute" +
      (id ? `; if that does not help, tell whoever runs the console this id: ${id}` : "") + ".";
    waiting.replaceWith(words);
  });

  // --- charts

  const charts = new Map();
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figures = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

  const zone = document.body.dataset.zone;

  // How an x is written: days, or hours of moments that lie less than three days apart, in the org's zone.
  function moments(data) {
    if (!data.time) return (x) => figures.format(x);
    const hours = !data.days && data.x.at(-1) - data.x[0] < 3 * 86400;
    const shape = hours ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
    const format = new Intl.DateTimeFormat("en-GB", { ...shape, timeZone: zone });
    return (x) => format.format(new Date(x * 1000));
  }

  // Each day is written once, as many of them as have room, and at most a dozen.
  function dayAxis(data) {
    const room = (chart) => Math.min(12, Math.max(2, Math.floor(chart.width / 72)));
    return { splits: (chart) => data.x.filter((_, at) => at % Math.ceil(data.x.length / room(chart)) === 0) };
  }

  // Where the pointer is not, the legend says the newest.
  function restOnLast(chart) {
    if (chart.cursor.idx == null) chart.setLegend({ idx: chart.data[0].length - 1 }, false);
  }

  // Shares of something end at all of it.
  function within(data) {
    if (data.within) return { range: () => data.within };
    const share = (y) => y == null || (y >= 0 && y <= 100);
    const all = data.series.flatMap((one) => [...one.y, ...(one.low ?? []), ...(one.high ?? [])]);
    if (data.unit !== "%" || !all.every(share)) return {};
    return { range: (_, low, high) => uPlot.rangeNum(low ?? 0, high ?? 100, 0.1, true).map((y) => Math.min(100, Math.max(0, y))) };
  }

  // Four colours can be told apart by most eyes; with dashes they make twelve lines, and more than that nobody reads.
  const DASHES = [[8, 4], [2, 3]];
  const DASH_NAMES = ["solid", "dashed", "dotted"];
  const MOST_LINES = 4 * DASH_NAMES.length;

  function draw(box) {
    const data = JSON.parse(box.dataset.chart);
    const unit = data.unit ? ` ${data.unit}` : "";
    const figure = (_, value) => (value == null ? "–" : figures.format(value) + unit);
    const when = moments(data);
    const series = [{ label: data.x_label ?? (data.time ? "Day" : ""), value: (_, x) => (x == null ? "–" : when(x)) }];
    const rows = [data.x];
    const bands = [];
    const drawn = data.series.slice(0, MOST_LINES);
    const dashes = [];
    drawn.forEach((one, at) => {
      dashes[series.length] = DASH_NAMES[Math.floor(at / 4)];
      const colour = token(`--series-${(at % 4) + 1}`);
      const line = { label: one.label, stroke: colour, width: 2, points: { show: data.x.length < 2 }, value: figure };
      if (at > 3) line.dash = DASHES[Math.floor(at / 4) - 1];
      if (data.kind === "bars") Object.assign(line, { fill: colour + "cc", paths: uPlot.paths.bars({ size: [0.6, 48] }) });
      series.push(line);
      rows.push(one.y);
      if (one.low && one.high) {
        const edge = { class: "edge", stroke: colour + "55", width: 1, points: { show: false }, value: figure };
        series.push({ ...edge, label: `${one.label}, to` }, { ...edge, label: `${one.label}, from` });
        rows.push(one.high, one.low);
        bands.push({ series: [series.length - 2, series.length - 1], fill: colour + "22" });
      }
    });
    const axis = { stroke: token("--muted"), grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: `12px ${token("--font")}` };
    const yAxis = { ...axis, size: 64, values: (_, values) => values.map((value) => figures.format(value) + unit) };
    charts.get(box)?.destroy();
    const options = {
      width: box.clientWidth, height: 240, series, bands, axes: [{ ...axis, grid: { show: false }, values: (_, xs) => xs.map(when), ...(data.days ? dayAxis(data) : {}) }, yAxis],
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zone),
      hooks: { ready: [restOnLast], setCursor: [restOnLast] },
      scales: { x: { time: Boolean(data.time), ...(data.days && data.x.length < 2 ? { range: (_, from) => [from - 43200, from + 43200] } : {}) }, y: within(data) }, legend: { live: true, markers: { dash: (_, at) => dashes[at] ?? "solid" } },
      // Of many lines the one under the pointer stands out.
      cursor: { points: { size: 7 }, ...(drawn.length > 4 ? { focus: { prox: 24 } } : {}) }, focus: { alpha: 0.25 },
    };
    charts.set(box, new uPlot(options, rows, box));
  }

  function drawAll() {
    for (const box of charts.keys()) if (!box.isConnected) charts.delete(box);
    document.querySelectorAll("[data-chart]").forEach(draw);
  }
  addEventListener("DOMContentLoaded", drawAll); // by then uPlot is there, which comes after this and may be slow
  document.addEventListener("htmx:after:swap", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let resizing;
  addEventListener("resize", () => {
    clearTimeout(resizing);
    resizing = setTimeout(() => charts.forEach((chart, box) => chart.setSize({ width: box.clientWidth, height: 240 })), 100);
  });

  // --- the tab one is on, where a phone shows only some

  const here = document.querySelector(".tabs [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 48;

  // --- a form that was refused says so first

  document.querySelector("[data-focus]")?.focus();
})();
