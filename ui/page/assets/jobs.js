// Comfort only: while the command runs, the page shows what it prints as it does.
// Without this file the page has a button for that.
"use strict";
(() => {
  const end = () => { const out = document.getElementById("output"); if (out) out.scrollTop = out.scrollHeight; };
  end();
  const look = async () => {
    const job = document.getElementById("job");
    if (!job || !("live" in job.dataset)) return;
    try {
      if (!document.hidden && !job.contains(document.activeElement)) {
        const answer = await fetch(location.href, { redirect: "error" });
        if (!answer.ok) return;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("job");
        if (!fresh) return;
        job.replaceWith(fresh);
        end();
      }
    } catch {
      return;
    }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
})();
