// Comfort only: the page is had again with Reload. It keeps the states of pods as they
// are, and gets parts of the page again that say more than a state.
"use strict";
(() => {
  const list = document.querySelector("[data-live=list]");
  const part = list || document.querySelector("[data-live=pod], [data-live=fresh]");
  const reload = () => document.getElementById("reload");
  if (!part) return;
  const selector = `[data-live=${part.dataset.live}]`;
  const says = document.getElementById("live-says");
  const all = new Map(); // pod → what was heard last
  const soon = 400, pause = 2000; // until the part is had again, and at least between two times
  let listed = "", source = null, timer = 0, had = -pause, told = [], wrong = Number(document.documentElement.dataset.failed);

  // say tells a screen reader what changed, gathered so that it is not talked over.
  function say(text) {
    told.push(text);
    setTimeout(() => {
      if (!told.length || !says) return;
      says.textContent = told.length > 3 ? told.length + " pods changed." : told.join(" ");
      told = [];
    }, 800);
  }

  // show writes how a pod is into its row or head. It returns whether that is another
  // state than was there.
  function show(row, pod) {
    const state = row.querySelector("[data-state]");
    const other = !!state && (state.textContent !== pod.word || !state.classList.contains("state-" + pod.status));
    if (other) {
      state.className = "state state-" + pod.status;
      state.textContent = pod.word;
      say(pod.name + " is " + pod.word + ".");
    }
    const reason = row.querySelector("[data-reason]");
    if (reason) {
      reason.textContent = pod.reason || "";
      reason.hidden = !pod.reason;
      reason.classList.toggle("reason", !!pod.wrong);
      reason.classList.toggle("meta", !pod.wrong);
    }
    return other;
  }

  function count() {
    document.dispatchEvent(new CustomEvent("podgate:failed", { detail: wrong }));
    const bad = document.getElementById("wrong");
    if (bad) { bad.hidden = !wrong; bad.textContent = wrong + " failed"; }
  }

  // again gets the page anew and puts its part in place of the one that is shown,
  // unless somebody is typing in it.
  async function again() {
    timer = 0;
    had = performance.now();
    const here = document.querySelector(selector);
    if (!here) return;
    const busy = here.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    if (busy) { offer(); return; }
    try {
      const res = await fetch(location.href, { credentials: "same-origin" });
      if (res.status === 404) { location.reload(); return; } // deleted: the page that says so
      if (!res.ok || res.redirected) { offer(); return; }
      const page = new DOMParser().parseFromString(await res.text(), "text/html");
      const next = page.querySelector(selector);
      if (!next) { offer(); return; }
      const focus = document.activeElement;
      const at = here.contains(focus) ? focus.getAttribute("href") || focus.getAttribute("aria-label") : null;
      const folded = new Set([...here.querySelectorAll("details[id]:not([open])")].map((d) => d.id));
      for (const d of next.querySelectorAll("details[id]")) if (folded.has(d.id)) d.open = false;
      for (const d of here.querySelectorAll("details[id][open]")) {
        const same = [...next.querySelectorAll("details[id]")].find((n) => n.id === d.id);
        if (same) same.open = true;
      }
      here.replaceWith(next);
      if (at) [...next.querySelectorAll("a, button")].find((e) => (e.getAttribute("href") || e.getAttribute("aria-label")) === at)?.focus();
      const title = page.querySelector("title");
      document.querySelector("title").dataset.title = title.dataset.title;
      count();
    } catch { offer(); }
  }

  function offer() { const r = reload(); if (r) r.hidden = false; }

  // later gets the part again soon, and not more often than now and then.
  function later() {
    timer ||= setTimeout(again, Math.max(soon, had + pause - performance.now()));
  }

  function hear(e) {
    for (const pod of JSON.parse(e.data)) {
      const before = all.get(pod.name);
      all.set(pod.name, pod);
      const row = list ? document.querySelector(selector).querySelector(`[data-pod="${CSS.escape(pod.name)}"]`) : pod.name === part.dataset.pod && document.getElementById("pod-head");
      let other = row && show(row, pod);
      if (before) other ||= before.status !== pod.status || before.since !== pod.since || (row && !list && before.reason !== pod.reason);
      // More than the state depends on it: buttons, the order, what belongs together.
      if (other && (list || row)) later();
    }
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("pods", hear);
    source.addEventListener("failed", (e) => { wrong = JSON.parse(e.data); count(); });
    source.addEventListener("list", (e) => {
      const now = JSON.parse(e.data), before = listed;
      listed = now;
      if (list) { if (now !== document.querySelector(selector).dataset.listed) later(); return; }
      if (part.dataset.live === "pod") { if (before && now !== before) later(); return; } // it may be this one that is gone
      if (now !== part.dataset.listed) location.reload(); // the first pod: the guide gives way to the list
    });
    source.onopen = () => { const r = reload(); if (r) r.hidden = true; };
    source.onerror = () => { offer(); if (source && source.readyState === EventSource.CLOSED) close(); };
  }
  function close() { source?.close(); source = null; }
  // A window that nobody sees follows nothing: browsers have few connections for a site.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
})();
