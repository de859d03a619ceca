// Comfort only. Says how many pods failed in the badge of the installed app, and in
// title and icon of the window when that changes while the page is open: whoever
// hears of it dispatches «podgate:failed» with the number.
"use strict";
(() => {
  const title = document.querySelector("title");
  const icon = document.querySelector("link[rel=icon]");
  const badge = (failed) => {
    // It is refused in windows that are not installed, which is fine.
    const set = failed > 0 ? navigator.setAppBadge?.(failed) : navigator.clearAppBadge?.();
    set?.catch(() => {});
  };
  const show = (failed) => {
    title.textContent = (failed > 0 ? `(${failed} failed) ` : "") + title.dataset.title;
    const href = failed > 0 ? icon.dataset.failed : icon.dataset.well;
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
    badge(failed);
  };
  badge(Number(document.documentElement.dataset.failed));
  document.addEventListener("podgate:failed", (event) => show(Number(event.detail)));
})();
