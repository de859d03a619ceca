// Comfort only: the page is had again with Reload. It keeps the states of pods as they
// are, and gets parts of the page again that say more than a state.
"use strict";
(() => {
  const list = document.querySelector("[data-live=list]");
  const part = document.querySelector("[data-live=pod]");
  const reload = document.getElementById("reload");
  if (!list && !part) return;
  const says = document.getElementById("live-says");
  const all = new Map(); // pod → what was heard last
  let source = null, first = true, timer = 0, told = [];

  // say tells a screen reader what changed, gathered so that it is not talked over.
  function say(text) {
    told.push(text);
    setTimeout(() => {
      if (!told.length || !says) return;
      says.textContent = told.length > 3 ? told.length + " pods changed." : told.join(" ");
      told = [];
    }, 800);
  }

  function show(row, pod) {
    const state = row.querySelector("[data-state]");
    if (state && (state.textContent !== pod.word || !state.classList.contains("state-" + pod.status))) {
      state.className = "state state-" + pod.status;
      state.textContent = pod.word;
      if (!first || list) say(pod.name + " is " + pod.word + ".");
    }
    const reason = row.querySelector("[data-reason]");
    if (reason) {
      reason.textContent = pod.reason || "";
      reason.hidden = !pod.reason;
      reason.classList.toggle("reason", !!pod.wrong);
      reason.classList.toggle("meta", !pod.wrong);
    }
  }

  function count() {
    const wrong = [...all.values()].filter((p) => p.wrong).length;
    document.dispatchEvent(new CustomEvent("podgate:failed", { detail: wrong }));
    const bad = document.getElementById("wrong");
    if (bad) { bad.hidden = !wrong; bad.textContent = wrong + " failed"; }
  }

  // again gets the page anew and puts its part in place of the one that is shown,
  // unless somebody is typing in it.
  async function again(selector) {
    const here = document.querySelector(selector);
    if (!here) return;
    const busy = here.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    if (busy) { offer(); return; }
    try {
      const res = await fetch(location.href, { credentials: "same-origin" });
      if (!res.ok || res.redirected) { offer(); return; }
      const next = new DOMParser().parseFromString(await res.text(), "text/html").querySelector(selector);
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
    } catch { offer(); }
  }

  function offer() { if (reload) reload.hidden = false; }

  function later(selector) {
    clearTimeout(timer);
    timer = setTimeout(() => again(selector), 400);
  }

  function hear(e) {
    const known = all.size > 0;
    for (const pod of JSON.parse(e.data)) {
      const before = all.get(pod.name);
      all.set(pod.name, pod);
      if (list) {
        const row = list.querySelector(`[data-pod="${CSS.escape(pod.name)}"]`);
        if (row) show(row, pod);
      } else if (pod.name === part.dataset.pod) {
        const head = document.getElementById("pod-head");
        const old = head?.querySelector("[data-state]")?.textContent;
        if (head) show(head, pod);
        if (old !== pod.word || (known && before && before.reason !== pod.reason)) later("[data-live=pod]");
      }
    }
    count();
    first = false;
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("pods", hear);
    source.addEventListener("list", (e) => {
      if (list && JSON.parse(e.data) !== document.querySelector("[data-live=list]").dataset.listed) {
        all.clear();
        later("[data-live=list]");
      }
    });
    source.onopen = () => { if (reload) reload.hidden = true; };
    source.onerror = () => { offer(); if (source && source.readyState === EventSource.CLOSED) close(); };
  }
  function close() { source?.close(); source = null; }
  // A window that nobody sees follows nothing: browsers have few connections for a site.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
})();
