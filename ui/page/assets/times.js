// Comfort only: without this file times are UTC and say so. It puts them into the
// reader's own zone. An element with data-own has a clock of its own.
"use strict";
(() => {
  const zone = { timeZoneName: "short" };
  const day = { day: "numeric", month: "long", year: "numeric" };
  const minute = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const second = { ...minute, second: "2-digit" };
  const format = (options) => new Intl.DateTimeFormat("en-GB", options);
  const full = format({ ...day, ...second, ...zone });
  // What a page writes, and how the same is written here.
  const forms = [
    [/^\d+ [A-Z][a-z]+ \d{4}$/, format(day)],
    [/^\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC$/, format({ ...day, ...minute, ...zone })],
    [/^\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d:\d\d UTC$/, full],
    [/^\d\d:\d\d:\d\d$/, format(second)],
    [/^\d\d:\d\d UTC$/, format({ ...minute, ...zone })],
  ];
  const days = [format({ day: "numeric", month: "short" }), format({ day: "numeric", month: "short", timeZone: "UTC" })];

  function show(time) {
    const at = new Date(time.dateTime);
    if (isNaN(at) || "own" in time.dataset || "zoned" in time.dataset) return;
    time.dataset.zoned = "";
    time.title = full.format(at);
    const text = time.textContent.trim();
    const form = forms.find(([shape]) => shape.test(text));
    if (!form) return; // such as «3 hours ago»
    time.textContent = form[1].format(at);
    // Under the heading of a day, a time of another day says which.
    const [here, utc] = days.map((d) => d.format(at));
    if (form === forms[3] && here !== utc) time.textContent = here + ", " + time.textContent;
  }

  const showAll = (root) => root.querySelectorAll("time[datetime]").forEach(show);
  showAll(document);
  const name = full.formatToParts(new Date()).find((p) => p.type === "timeZoneName");
  for (const e of document.querySelectorAll("[data-zone]")) e.textContent = name ? name.value : "yours";
  const main = document.getElementById("main");
  if (!main) return;
  new MutationObserver((list) => {
    for (const m of list) for (const n of m.addedNodes) if (n.nodeType === 1 && !n.closest("time")) n.matches("time[datetime]") ? show(n) : showAll(n);
  }).observe(main, { childList: true, subtree: true });
})();
