// Makes the console live: what changes comes by server-sent events, moments are told as how long ago, j and k move through the
// queue. Without it every page works, as it was when it was loaded.
"use strict";

const main = document.querySelector("main"), state = document.getElementById("state");
const area = document.getElementById("live");
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const relative = new Intl.RelativeTimeFormat("en", {numeric: "auto"});

function tellTimes() {
  for (const time of document.querySelectorAll("time")) {
    const at = new Date(time.dateTime), seconds = (at - Date.now()) / 1000;
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? units.at(-1);
    time.textContent = relative.format(Math.round(seconds / size), unit);
    time.title = at.toLocaleString();
  }
}

function counted() {
  const count = area?.querySelector("[data-count]")?.dataset.count;
  if (count !== undefined) document.title = document.title.replace(/^(\(\d+\) )?/, count > 0 ? `(${count}) ` : "");
}

function show(html) {
  const before = area.querySelector("[data-state]")?.dataset.state;
  const focused = area.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  area.innerHTML = html;
  // what can be done is another thing now: the whole page says what
  if (before !== undefined && area.querySelector("[data-state]")?.dataset.state !== before) location.reload();
  if (focused) area.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  tellTimes();
  counted();
}

function follow() {
  const events = new EventSource(main.dataset.live);
  events.addEventListener("open", () => { state.textContent = "Live"; });
  events.addEventListener("view", (event) => show(JSON.parse(event.data)));
  events.addEventListener("over", () => { events.close(); location.reload(); });
  events.addEventListener("error", () => {
    const ended = events.readyState === EventSource.CLOSED;
    state.textContent = ended ? "Not live: load the page again" : "Not live: connecting again";
    if (ended) setTimeout(follow, 5000);
  });
  addEventListener("pagehide", () => events.close());
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const links = [...document.querySelectorAll(".open")], at = links.indexOf(document.activeElement);
  const to = {j: at + 1, k: Math.max(at - 1, 0)}[event.key];
  if (to !== undefined) links[Math.min(to, links.length - 1)]?.focus();
  if (event.key === "/") { event.preventDefault(); document.querySelector("input[type=search]")?.focus(); }
});

tellTimes();
counted();
setInterval(tellTimes, 20000);
if (main.dataset.live) follow();
// a page that comes back from the browser's own cache has no stream, and may be old
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
