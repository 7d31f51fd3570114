// Shows what is pushed, and opens the page where something can be done about it. It is served as
// /push.js, so that it answers for all pages. It keeps nothing and answers no request.

self.addEventListener("push", (event) => {
  const { text = "Something waits for you.", path = "/inbox", tag = "" } = event.data?.json() ?? {};
  event.waitUntil(self.registration.showNotification("Secondlook", { body: text, tag, renotify: tag !== "", data: { path } }));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data?.path ?? "/inbox"));
});

async function open(path) {
  const asked = new URL(path, self.location.origin);
  const url = asked.origin === self.location.origin ? asked.href : new URL("/inbox", self.location.origin).href;
  const tabs = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = tabs.find((tab) => tab.url.split("#")[0] === url);
  return there ? there.focus() : self.clients.openWindow(url);
}
