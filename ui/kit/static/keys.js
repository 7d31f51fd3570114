// Shortcuts. Each is an attribute of the element that it presses: data-key="s". The handler, the
// badges and the sheet read the same attributes.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const store = {
  get: (name) => { try { return localStorage.getItem(`secondlook.${name}`); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(`secondlook.${name}`, value); } catch { /* private mode */ } },
};
const announce = (words, urgent = false) => document.dispatchEvent(new CustomEvent("announce", { detail: { words, urgent } }));

let moved = {};
try { moved = JSON.parse(store.get("keymap") ?? "{}") ?? {}; } catch { /* not ours: keep the keys as they are */ }
let prefix = "";
let prefixTimer = 0;
const keysOn = () => store.get("keys") !== "off";
const keyOf = (element) => moved[element.dataset.key] ?? element.dataset.key;
const all = () => [...document.querySelectorAll("[data-key]")];
const shown = (element) => element.hidden ? element.dataset.do !== undefined : element.checkVisibility();
const usable = (element) => !element.disabled && element.getAttribute("aria-disabled") !== "true" && shown(element);
// What is hidden keeps the focus until the next frame: nobody types there.
const typing = (target) => target.closest?.("input:not([type=checkbox], [type=radio], [type=button]), select, textarea, [contenteditable]:not([contenteditable=false]), dialog[open]")?.checkVisibility();

// Nearest first: what is around the focus, then the reading pane, then the page.
function find(key) {
  const fitting = all().filter((one) => keyOf(one) === key && usable(one));
  const near = (scope) => scope && fitting.find((one) => scope.contains(one));
  return near(document.activeElement?.closest("form, [data-row], [data-scope]")) ?? near(byId("pane")) ?? fitting[0];
}

function press(element) {
  if (!element.dataset.do && element.matches("input:not([type=checkbox], [type=radio]), select, textarea")) { element.focus(); element.select?.(); } else element.click();
}

function applyKeys() {
  root.dataset.keys = keysOn() ? "on" : "off";
  for (const element of all()) {
    const key = keyOf(element);
    const badge = element.querySelector("kbd.key") ?? element.parentElement?.querySelector(":scope > kbd.key");
    if (badge && badge.textContent !== key) badge.textContent = key;
    if (keysOn() && !key.includes(" ")) element.setAttribute("aria-keyshortcuts", key.replace("Mod", "Control"));
    else element.removeAttribute("aria-keyshortcuts");
  }
}

// --- Keyboards --------------------------------------------------------------------------------

// What a key types goes first. Where people write another script than Latin, no key types a
// shortcut's letter: there the place of the key on the board counts, too. Digits go by their place
// everywhere, since many boards have them behind Shift. What AltGr types counts as typed alone.
let otherScript = false;
const LETTER = /^\p{L}$/u;
const LATIN = /^\p{Script=Latin}$/u;
const PLACES = { Slash: ["/", "?"] };
const MODIFIERS = new Set(["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"]);

function place(event) {
  const letter = /^Key([A-Z])$/.exec(event.code);
  if (letter) return event.shiftKey ? letter[1] : letter[1].toLowerCase();
  return PLACES[event.code]?.[event.shiftKey ? 1 : 0];
}

function namesOf(event) {
  const altGraph = event.getModifierState("AltGraph");
  const typed = event.getModifierState("CapsLock") && !event.shiftKey && event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (LETTER.test(typed) && !altGraph) otherScript = !LATIN.test(typed);
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code)?.[1];
  const placed = altGraph ? [] : [otherScript ? place(event) : undefined, event.shiftKey ? undefined : digit];
  const mod = !altGraph && (event.ctrlKey || event.metaKey) ? "Mod+" : "";
  return [typed, ...placed].filter(Boolean).map((name) => mod + name);
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || MODIFIERS.has(event.key)) return;
  if (event.altKey && !event.getModifierState("AltGraph")) return;
  if (!keysOn() || typing(event.target) || document.querySelector("dialog[open]")) return;
  if ((event.key === "Enter" || event.key === " ") && event.target.closest("a, button, summary, label, input")) return;
  const names = namesOf(event);
  const before = prefix;
  clearTimeout(prefixTimer);
  prefix = "";
  for (const name of names) {
    const target = find(before ? `${before} ${name}` : name);
    if (!target) continue;
    if (event.repeat && !["next", "previous"].includes(target.dataset.do)) return;
    event.preventDefault();
    press(target);
    return;
  }
  prefix = names.find((name) => all().some((one) => keyOf(one).startsWith(`${name} `))) ?? "";
  if (prefix) prefixTimer = setTimeout(() => { prefix = ""; }, 1200);
});

// --- The sheet --------------------------------------------------------------------------------

function fillSheet() {
  const seen = new Map();
  for (const element of all()) if (shown(element) && !seen.has(element.dataset.key)) seen.set(element.dataset.key, element);
  document.querySelector("#shortcuts ul").replaceChildren(...[...seen.values()].map((element) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = element.dataset.does || element.textContent.trim();
    const input = document.createElement("input");
    Object.assign(input, { className: "input", value: keyOf(element), maxLength: 8, autocomplete: "off", name: element.dataset.key });
    input.setAttribute("aria-label", `Key for: ${name.textContent}`);
    item.append(name, input);
    return item;
  }));
  byId("keys-on").checked = keysOn();
}

function remap(input) {
  const key = input.value.trim();
  const taken = all().some((one) => one.dataset.key !== input.name && keyOf(one) === key);
  if (!key || taken) {
    announce(taken ? `${key} is taken` : "A key is needed", true);
    input.value = moved[input.name] ?? input.name;
    return;
  }
  if (key === input.name) delete moved[input.name]; else moved[input.name] = key;
  store.set("keymap", JSON.stringify(moved));
  applyKeys();
}

const actions = {
  sheet: () => { fillSheet(); byId("shortcuts").showModal(); },
  "close-sheet": () => byId("shortcuts").close(),
  "reset-keys": () => { moved = {}; store.set("keymap", "{}"); store.set("keys", "on"); applyKeys(); fillSheet(); },
};
document.addEventListener("click", (event) => actions[event.target.closest?.("[data-do]")?.dataset.do]?.());
document.addEventListener("change", (event) => {
  if (event.target.id === "keys-on") { store.set("keys", event.target.checked ? "on" : "off"); applyKeys(); announce(event.target.checked ? "Shortcuts on" : "Shortcuts off"); }
  else if (event.target.closest("#shortcuts li")) remap(event.target);
});
document.addEventListener("htmx:after:swap", applyKeys);
applyKeys();
