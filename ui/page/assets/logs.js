// Comfort only: without this file the page shows the newest lines and is loaded
// anew by its button. It follows the log, and lets that be paused.
"use strict";
(() => {
  const log = document.getElementById("log"), live = document.getElementById("live");
  const pause = document.getElementById("pause"), reload = document.getElementById("reload");
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const most = 2000;
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
  const local = (time) => {
    const at = new Date(time.dateTime);
    if (isNaN(at)) return;
    time.textContent = clock.format(at);
    time.title = at.toLocaleString(undefined, { dateStyle: "long", timeStyle: "long" });
  };
  for (const time of log.querySelectorAll("time")) local(time);
  log.setAttribute("aria-label", log.getAttribute("aria-label").replace(/, times in UTC$/, ""));
  // The days were parted as those of UTC.
  const part = () => {
    let last = "";
    for (const old of log.querySelectorAll(".log-day")) old.remove();
    for (const row of [...log.children]) {
      const time = row.querySelector("time");
      if (time) last = head(row, time, last);
    }
    log.dataset.day = last;
  };
  const head = (row, time, last) => {
    const name = day.format(new Date(time.dateTime));
    if (name !== last) {
      const item = document.createElement("li");
      item.className = "log-day";
      item.textContent = name;
      row.before(item);
    }
    return name;
  };
  part();
  log.scrollTop = log.scrollHeight;
  if (!log.dataset.events || !window.EventSource) return;

  let waiting = [], paused = false, missed = 0;
  const say = (text, state) => { live.textContent = text; live.className = "live live-" + state; live.hidden = false; };
  const row = (line) => {
    const item = document.createElement("li"), time = document.createElement("time"), said = document.createElement("span");
    if (line.bad) item.className = "log-bad";
    time.dateTime = line.at;
    local(time);
    item.append(time);
    if (line.source) {
      const source = document.createElement("b");
      source.textContent = line.source;
      item.append(source);
    }
    for (const part of line.spans || []) {
      const text = document.createElement(part.c ? "i" : "span");
      if (part.c) text.className = part.c;
      text.textContent = part.t;
      said.append(text);
    }
    if (line.cut) said.append(mark(`… ${line.cut} more characters`));
    item.append(said);
    return item;
  };
  const mark = (text) => {
    const item = document.createElement("i");
    item.className = "a-name";
    item.textContent = text;
    return item;
  };
  const gap = (lost) => {
    const item = document.createElement("li");
    item.className = "log-gap";
    item.textContent = `${lost} lines came too fast and are left out here. The download has them.`;
    return item;
  };
  const add = (items) => {
    if (!items.length) return;
    document.getElementById("log-empty")?.remove();
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    log.append(...items);
    for (const item of items) {
      const time = item.querySelector("time");
      if (time) log.dataset.day = head(item, time, log.dataset.day);
    }
    while (log.children.length > most) log.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  const news = (event) => {
    const { lines, lost } = JSON.parse(event.data);
    const items = (lines || []).map(row);
    if (lost) items.push(gap(lost));
    if (!paused) return add(items);
    waiting.push(...items);
    if (waiting.length > most) { missed += waiting.length - most; waiting = waiting.slice(-most); }
    say(`Paused, ${waiting.length + missed} new`, "paused");
  };
  let source;
  const follow = () => {
    source = new EventSource(log.dataset.events);
    source.addEventListener("open", () => { if (!paused) say("Live", "on"); });
    source.addEventListener("lines", news);
    source.addEventListener("pause", (event) => say(JSON.parse(event.data), "off"));
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) {
        say("Not live any more. Reload the page.", "off");
        pause.hidden = true;
        reload.hidden = false;
      }
    });
  };
  pause.hidden = false;
  reload.hidden = true;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (paused) return say("Paused", "paused");
    if (missed) waiting.unshift(gap(missed));
    add(waiting);
    waiting = [];
    missed = 0;
    log.scrollTop = log.scrollHeight;
    say("Live", "on");
  });
  document.getElementById("show").addEventListener("change", (event) => event.target.form.requestSubmit());
  follow();
})();
