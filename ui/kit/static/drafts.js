// What is typed into a page whose session ends is kept in this tab until its person is signed in
// again, and then stands where it stood. Nothing is kept while the session lasts, and nothing of
// forms that hold a password.

const KEY = "secondlook.draft";
const person = document.body.dataset.person;
const byId = (id) => document.getElementById(id);
const storage = {
  read: () => { try { return JSON.parse(sessionStorage.getItem(KEY)); } catch { return null; } },
  write: (draft) => { try { sessionStorage.setItem(KEY, JSON.stringify(draft)); } catch { /* private mode: it stays on the page */ } },
  drop: () => { try { sessionStorage.removeItem(KEY); } catch { /* nothing was kept */ } },
};

const forms = () => [...document.querySelectorAll("form[method=post]")].filter((form) => !form.querySelector("[type=password]"));
const fieldsOf = (form) => [...form.elements].filter((one) => one.name && one.matches("textarea, select, input:not([type=hidden], [type=submit], [type=button])"));
const nameOf = (form) => new URL(form.getAttribute("action"), location.href).pathname;

function typed(field) {
  if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
  if (field.matches("select")) return [...field.options].some((one) => one.selected !== one.defaultSelected) && field.selectedIndex > 0;
  return field.value !== field.defaultValue;
}

function keep() {
  const kept = forms().flatMap((form) => fieldsOf(form).filter(typed).map((field) => ({
    form: nameOf(form), name: field.name, value: field.value, checked: field.checked,
  })));
  if (kept.length && person) storage.write({ person, path: location.pathname, kept });
}

function put({ form, name, value, checked }) {
  const place = forms().filter((one) => nameOf(one) === form).flatMap(fieldsOf)
    .find((one) => one.name === name && (checked === undefined || !one.matches("[type=checkbox], [type=radio]") || one.value === value));
  if (!place) return false;
  if (place.matches("[type=checkbox], [type=radio]")) place.checked = checked; else place.value = value;
  for (let tray = place.closest("details"); tray; tray = tray.parentElement.closest("details")) tray.open = true;
  return true;
}

function giveBack() {
  const draft = storage.read();
  if (!draft || !person || (draft.person === person && draft.path !== location.pathname)) return;
  storage.drop();
  if (draft.person !== person) return;
  const lost = draft.kept.filter((field) => !put(field));
  const notice = byId("notice-draft").content.cloneNode(true);
  for (const { value } of lost) {
    const words = document.createElement("p");
    words.className = "prose quote";
    words.textContent = value;
    notice.querySelector("[data-lost]").append(words);
  }
  notice.querySelector("[data-lost]").hidden = !lost.length;
  notice.querySelector("[data-back]").hidden = lost.length === draft.kept.length;
  byId("notice").replaceChildren(notice);
  document.dispatchEvent(new CustomEvent("announce", { detail: { words: "What you typed before is back. It was not sent yet." } }));
}

let leaving = false;
document.addEventListener("keep-drafts", () => { leaving = true; keep(); });
addEventListener("pagehide", () => { if (leaving) keep(); });
document.addEventListener("submit", (event) => { if (nameOf(event.target) === "/sign-out") { leaving = false; storage.drop(); } });
giveBack();
