// Asks the browser to show what is pushed, where it offers that. What it then shows is up to
// push-worker.js.

const form = document.querySelector("[data-push-key]");
const said = document.querySelector("[data-push-said]");
const say = (words) => { said.textContent = words; };

const bytesOf = (letters) => Uint8Array.from(atob(letters.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
const lettersOf = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const NOT_OFFERED = "This browser offers no push here. It takes a browser that has it, and an address that begins with https.";
const REFUSED = "This browser does not let Secondlook show notifications. Allow them in its settings for this site, and reload the page.";
const offered = () => isSecureContext && "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

function show() {
  if (!offered()) return say(NOT_OFFERED);
  if (Notification.permission === "denied") return say(REFUSED);
  say("Your browser asks you once whether it may.");
  form.hidden = false;
}

async function subscribe() {
  const worker = await navigator.serviceWorker.register("/push.js");
  await navigator.serviceWorker.ready;
  const key = form.dataset.pushKey;
  const old = await worker.pushManager.getSubscription();
  // One that was made for another installation's key would be of no use.
  if (old && lettersOf(old.options.applicationServerKey) !== key) await old.unsubscribe();
  return worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) });
}

async function allow(event) {
  event.preventDefault();
  if ((await Notification.requestPermission()) !== "granted") return say(REFUSED);
  say("Asking the browser's push service…");
  try {
    const { endpoint, keys } = (await subscribe()).toJSON();
    Object.entries({ endpoint, ...keys }).forEach(([name, value]) => { if (form.elements[name]) form.elements[name].value = value; });
    form.submit();
  } catch (error) {
    say(`The browser's push service did not take it (${error.message}). Try again later.`);
  }
}

if (form && said) {
  show();
  form.addEventListener("submit", allow);
}
