// What pages do beside posting forms. Nothing here is needed to get a task done. Shortcuts are in
// keys.js, what was typed when a session ended is in drafts.js.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

// --- Saying things ---------------------------------------------------------------------------

function announce(words, urgent = false) {
  const region = byId(urgent ? "live-assertive" : "live-polite");
  if (!region) return;
  region.textContent = "";
  setTimeout(() => { region.textContent = words; }, 50);
}
document.addEventListener("announce", (event) => announce(event.detail.words ?? "", event.detail.urgent));

// --- Things that elements ask for with data-do ------------------------------------------------

let lastFailed = null;
const actions = {
  next: (element) => step(element, 1),
  previous: (element) => step(element, -1),
  open: (element) => (currentRow(listOf(element)) ?? rowsOf(listOf(element))[0])?.querySelector(".row-title a")?.click(),
  select: (element) => currentRow(listOf(element))?.querySelector("[type=checkbox]")?.click(),
  "select-all": (element) => {
    const boxes = [...listOf(element).querySelectorAll("[data-row] [type=checkbox]:not(:disabled)")];
    const on = boxes.some((box) => !box.checked);
    for (const box of boxes) box.checked = on;
    countSelected();
    announce(on ? `${boxes.length} selected` : "None selected");
  },
  close: (element) => {
    const details = element.closest("details");
    details.open = false;
    details.querySelector("summary").focus();
  },
  dismiss: () => { byId("notice").replaceChildren(); (currentRow(listOf(null)) ? focusRow(currentRow(listOf(null))) : byId("main").focus({ preventScroll: true })); },
  retry: () => { byId("notice").replaceChildren(); if (lastFailed?.isConnected) (lastFailed.requestSubmit ?? lastFailed.click).call(lastFailed); else location.reload(); },
  theme: () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
    announce(`${dark ? "Light" : "Dark"} theme`);
  },
};
function act(name, element) { actions[name]?.(element); }

document.addEventListener("click", (event) => {
  const element = event.target.closest?.("[data-do]");
  if (element) act(element.dataset.do, element);
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
// A file that somebody chooses is read into the text that it names; it goes nowhere by itself.
document.addEventListener("change", async (event) => {
  const [file, text] = [event.target.files?.[0], byId(event.target.dataset?.fills)];
  if (!file || !text) return;
  text.value = await file.text();
  text.focus();
  announce(`${file.name} is in the text below`);
});
document.addEventListener("toggle", (event) => {
  if (event.target.matches("details.tray[open]")) event.target.querySelector("textarea, select, input:not([type=hidden])")?.focus();
}, true);
function closeMenus(target) {
  const menu = target.closest?.("details.menu[open]") ?? document.querySelector("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
}

// --- Lists: one row is current, and stays so across swaps --------------------------------------

const listOf = (element) => element?.closest?.("[data-list]") ?? document.querySelector("[data-list]");
const rowsOf = (list) => [...(list?.querySelectorAll("[data-row]") ?? [])].filter((row) => row.checkVisibility());
const currentRow = (list) => list?.contains(document.activeElement) && document.activeElement.closest("[data-row]") || list?.querySelector("[data-row]:has([aria-current=true])");

function focusRow(row) {
  row?.querySelector(".row-title a")?.focus({ preventScroll: true });
  row?.scrollIntoView({ block: "nearest" });
}
function step(element, by) {
  const list = listOf(element);
  const rows = rowsOf(list);
  const at = rows.indexOf(currentRow(list));
  focusRow(rows[at < 0 ? 0 : Math.min(Math.max(at + by, 0), rows.length - 1)]);
}
function markCurrent(link) {
  for (const other of link.closest("[data-list]")?.querySelectorAll("[aria-current=true]") ?? []) other.removeAttribute("aria-current");
  link.setAttribute("aria-current", "true");
  link.closest("[data-row]")?.removeAttribute("data-new");
}
function countSelected() {
  const count = document.querySelectorAll("[data-row] [type=checkbox]:checked").length;
  for (const bar of document.querySelectorAll("[data-bulk]")) { bar.hidden = !count; bar.querySelector("[data-selected]").textContent = count; }
}

// --- Finder: type to narrow, Enter takes the first ---------------------------------------------

const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const options = (finder) => [...finder.querySelectorAll("[data-option]")];
function narrow(finder, query) {
  const words = fold(query).split(/\s+/).filter(Boolean);
  let left = 0;
  for (const option of options(finder)) {
    option.hidden = !words.every((word) => fold(option.textContent).includes(word));
    left += option.hidden ? 0 : 1;
  }
  finder.querySelector("[data-none]").hidden = left > 0;
  announce(left === 1 ? "1 category" : `${left} categories`);
}
function finderKey(event) {
  const finder = event.target.closest?.("[data-finder]");
  if (!finder || !["Enter", "ArrowDown", "ArrowUp"].includes(event.key)) return false;
  const buttons = options(finder).filter((option) => !option.hidden).map((option) => option.querySelector("button"));
  const input = finder.querySelector("input[type=search]");
  const at = buttons.indexOf(event.target);
  if (event.key === "Enter") {
    if (event.target !== input) return false;
    event.preventDefault();
    if (input.value.trim()) buttons[0]?.click();
  } else {
    event.preventDefault();
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? input : buttons[Math.min(next, buttons.length - 1)])?.focus();
  }
  return true;
}
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if (event.key === "Escape") closeMenus(event.target); else finderKey(event);
}, true);
document.addEventListener("input", (event) => {
  const finder = event.target.closest("[data-finder]");
  if (finder && event.target.type === "search") narrow(finder, event.target.value);
});
document.addEventListener("change", (event) => {
  if (event.target.closest("[data-row]")) countSelected();
});

// --- Sending: once, and saying so when it takes long or fails -----------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.hasAttribute("hx-post")) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "yes";
  setTimeout(() => form.setAttribute("aria-busy", "true"), 300);
});
addEventListener("pageshow", () => { for (const form of document.querySelectorAll("form[data-sent]")) { delete form.dataset.sent; form.removeAttribute("aria-busy"); } });

const busy = new WeakMap();
let before = null;
const rowFor = (form) => form?.dataset?.rowId && byId(form.dataset.rowId);

// Nothing is polled for where nobody looks, nor for somebody who is signed out.
document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  if (ctx.sourceEvent?.type === "every" && (document.hidden || "signedOut" in root.dataset)) event.preventDefault();
});
document.addEventListener("htmx:before:request", (event) => {
  const { ctx } = event.detail;
  const source = ctx.sourceElement;
  const area = ctx.target?.closest ? ctx.target : source;
  busy.set(source, [area, setTimeout(() => area.setAttribute("aria-busy", "true"), 300)]);
  if (source.matches(".row-title a")) markCurrent(source);
  const row = rowFor(source);
  if (!row) return;
  ctx.row = row.id;
  row.dataset.state = "saving";
  note(row, "Saving…");
  if (source.hasAttribute("data-advance")) advance(row);
});
function note(row, words) {
  const place = row.querySelector("[data-note]");
  if (place) { place.textContent = words; place.hidden = !words; }
}
function advance(row) {
  const rows = rowsOf(listOf(row)).filter((one) => one === row || !["saving", "inert"].includes(one.dataset.state));
  const next = rows[rows.indexOf(row) + 1] ?? rows[rows.indexOf(row) - 1];
  if (!next) return;
  focusRow(next);
  next.querySelector(".row-title a[hx-get]")?.click();
}
document.addEventListener("htmx:finally:request", (event) => {
  const [area, timer] = busy.get(event.detail.ctx.sourceElement) ?? [];
  clearTimeout(timer);
  area?.removeAttribute("aria-busy");
  countSelected();
});

function failed(ctx) {
  lastFailed = ctx.sourceElement;
  const row = ctx.row && byId(ctx.row);
  const words = "Not saved: Secondlook could not be reached.";
  if (row) { row.dataset.state = "error"; note(row, `${words} Open it and try again.`); }
  if (ctx.sourceEvent?.type === "every") { stale(true); return; }
  const copy = byId("notice-lost")?.content.cloneNode(true);
  if (copy && !row) byId("notice")?.replaceChildren(copy);
  announce(words, true);
}
document.addEventListener("htmx:error", (event) => { if (event.detail.ctx?.request) failed(event.detail.ctx); });
// What a proxy answers when we are away is not for this page: ours carry HX-Retarget.
document.addEventListener("htmx:before:response", (event) => {
  const { ctx } = event.detail;
  if (ctx.response.status >= 500 && !ctx.hx.retarget) { event.preventDefault(); failed(ctx); return; }
  if (ctx.response.status === 401) root.dataset.signedOut = "";
  if (ctx.sourceEvent?.type === "every") stale(false);
  else if (ctx.request.method !== "GET" && ctx.response.status < 400) byId("notice")?.querySelector("[data-over]")?.remove();
  const row = ctx.response.status >= 400 && ctx.row && byId(ctx.row);
  if (row) { row.dataset.state = "error"; note(row, "Not saved."); }
});

let staleSince = 0;
function stale(yes) {
  staleSince = yes ? staleSince || Date.now() : 0;
  for (const banner of document.querySelectorAll("[data-stale]")) {
    banner.hidden = !yes;
    banner.querySelector("[data-stale-since]").textContent = yes && Date.now() - staleSince > 6e4 ? coarse((Date.now() - staleSince) / 1000) : "";
  }
}

// --- Focus: after a swap it is where one expects it, never nowhere -------------------------------

document.addEventListener("htmx:before:swap", () => {
  const active = document.activeElement;
  const row = active?.closest?.("[data-row]");
  const ids = (start, way) => { const found = []; for (let one = start?.[way]; one; one = one[way]) found.push(one.id); return found; };
  const around = [];
  for (let one = active; one && one !== document.body; one = one.parentElement) if (one.id) around.push(one.id);
  before = { had: active && active !== document.body, around, row: row && [row.id, ...ids(row, "nextElementSibling"), ...ids(row, "previousElementSibling"), row.parentElement.id] };
});
// The pane says which row it shows (data-shows) and which one is done with (data-done).
let worked = "pane";
document.addEventListener("focusin", (event) => { worked = event.target.closest("[data-list]") ? "list" : "pane"; });
function follow() {
  const pane = byId("pane");
  const shows = pane?.querySelector("[data-shows]");
  if (!shows || shows === followed) return;
  const last = followed;
  followed = shows;
  byId("split")?.setAttribute("data-open", "");
  byId(shows.dataset.done)?.remove();
  const link = byId(`${shows.dataset.shows}-link`);
  if (link) markCurrent(link);
  if (last?.dataset.shows === shows.dataset.shows) return;
  pane.scrollTop = 0;
  if (link && worked === "list" && link.checkVisibility()) return focusRow(link.closest("[data-row]"));
  byId("case-title")?.focus({ preventScroll: true });
  if (pane.getBoundingClientRect().top < 0) pane.scrollIntoView({ block: "start" });
}
let followed = document.querySelector("#pane [data-shows]");
document.addEventListener("htmx:after:swap", (event) => {
  const posted = event.detail.ctx?.request?.method === "POST";
  times();
  const was = before;
  follow();
  requestAnimationFrame(() => {
    if (document.activeElement && document.activeElement !== document.body) return;
    if (posted) document.querySelector("[data-land]")?.focus({ preventScroll: true });
    if (!was?.had || document.activeElement !== document.body) return;
    const row = was.row?.map(byId).find((one) => one?.matches("[data-row]"));
    if (row) focusRow(row);
    else for (const place of [...(was.row ?? []), ...was.around, "page-title", "main"].map(byId)) {
      place?.focus({ preventScroll: true });
      if (place && document.activeElement === place) break;
    }
  });
});

// --- Times: in the reader's zone, kept up to date -------------------------------------------------

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const coarse = (seconds) => {
  const whole = Math.floor(Math.abs(seconds));
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (whole >= size) return `${Math.floor(whole / size)}\u00a0${unit}`;
  return `${whole}\u00a0s`;
};
function put(element, words) { if (element.textContent !== words) element.textContent = words; }
function times() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    const seconds = (moment - Date.now()) / 1000;
    if ("absolute" in element.dataset) put(element, absolute.format(moment));
    else if ("relative" in element.dataset) {
      element.title = absolute.format(moment);
      put(element, Math.abs(seconds) < 60 ? "just now" : seconds > 0 ? `in ${coarse(seconds)}` : `${coarse(seconds)} ago`);
    } else if ("due" in element.dataset) {
      const level = seconds <= 0 ? "late" : seconds <= element.dataset.soon * 60 ? "soon" : "ok";
      element.title = `Due ${absolute.format(moment)}`;
      put(element.lastElementChild, level === "late" ? `Late ${coarse(seconds)}` : coarse(seconds));
      if (element.dataset.level === level) continue;
      element.dataset.level = level;
      const use = element.querySelector("use");
      use.setAttribute("href", use.getAttribute("href").replace(/#.*/, level === "late" ? "#triangle-alert" : "#clock"));
      put(element.querySelector("[data-due-word]"), level === "late" ? "Overdue: " : "Due in ");
    }
  }
}

// --- Start ------------------------------------------------------------------------------------

root.dataset.js = "on";
times();
countSelected();
setInterval(times, 30000);
