// Comfort only. It shows the address of a pod while its name is typed, and takes an app
// that is dropped: a folder or an archive.
"use strict";
(() => {
  for (const out of document.querySelectorAll("[data-address]")) {
    const field = document.getElementById(out.dataset.of);
    const show = () => { out.textContent = out.dataset.address.replace("NAME", field.value.trim() || "NAME"); };
    field?.addEventListener("input", show);
    if (field) show();
  }

  for (const form of document.querySelectorAll("form[data-drop]")) {
    const says = form.querySelector(".drop-says");
    const button = form.querySelector("button");
    form.classList.add("drop-ready");

    async function files(entry, path, found) {
      if (found.length > 6000) return;
      if (entry.isFile) {
        found.push([await new Promise((ok, no) => entry.file(ok, no)), path + entry.name]);
        return;
      }
      if ([".git", "node_modules", "__pycache__"].includes(entry.name)) return;
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((ok, no) => reader.readEntries(ok, no));
        if (!some.length) return;
        for (const e of some) await files(e, path + entry.name + "/", found);
      }
    }

    function fault(words) {
      says.textContent = words;
      says.classList.add("reason");
      button.disabled = false;
    }

    function send(data) {
      const req = new XMLHttpRequest();
      req.open("POST", form.action);
      req.upload.onprogress = (e) => { if (e.lengthComputable) says.textContent = "Sending, " + Math.round(100 * e.loaded / e.total) + " %"; };
      req.upload.onload = () => { says.textContent = "Sent. Its deploy begins."; };
      req.onerror = () => fault("It could not be sent. Try again.");
      req.onload = () => {
        if (req.status < 400) { location.assign(req.responseURL || location.href); return; }
        const page = new DOMParser().parseFromString(req.responseText, "text/html");
        fault((page.getElementById("fault") || page.querySelector(".lead"))?.textContent || "That did not work.");
      };
      says.classList.remove("reason");
      button.disabled = true;
      req.send(data);
    }

    form.addEventListener("submit", (e) => {
      e.preventDefault();
      send(new FormData(form));
    });
    form.addEventListener("dragover", (e) => { e.preventDefault(); form.classList.add("drop-over"); });
    form.addEventListener("dragleave", (e) => { if (!form.contains(e.relatedTarget)) form.classList.remove("drop-over"); });
    form.addEventListener("drop", async (e) => {
      e.preventDefault();
      form.classList.remove("drop-over");
      const entries = [...e.dataTransfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
      const alone = entries.length === 1 && entries[0].isFile ? e.dataTransfer.files[0] : null;
      const data = new FormData();
      if (alone && /\.(zip|tar|tgz|tar\.gz)$/i.test(alone.name)) {
        data.append("archive", alone, alone.name);
      } else {
        const found = [];
        try {
          for (const entry of entries) await files(entry, "", found);
        } catch {
          fault("It could not be read. Look whether this browser may open all of its files.");
          return;
        }
        for (const [file, path] of found) data.append("folder", file, path);
      }
      send(data);
    });
  }
})();
