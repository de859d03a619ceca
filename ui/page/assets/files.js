// Comfort only: files may be dropped on the page, and who leaves a text that is not
// saved is asked first. Without this file the same forms do the same.
"use strict";
(() => {
  const upload = document.getElementById("upload");
  if (upload) {
    const input = document.getElementById("file"), body = document.body;
    const add = document.getElementById("file-add"), said = add.querySelector("summary");
    if (matchMedia("(pointer: fine)").matches) said.firstChild.after(" – or drop files on this page");
    const brings = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
    let depth = 0;
    addEventListener("dragenter", (event) => { if (brings(event)) { depth++; body.classList.add("dropping"); } });
    addEventListener("dragleave", (event) => { if (brings(event) && --depth <= 0) { depth = 0; body.classList.remove("dropping"); } });
    addEventListener("dragover", (event) => { if (brings(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      depth = 0;
      body.classList.remove("dropping");
      if (!event.dataTransfer.files.length) return;
      add.open = true;
      input.files = event.dataTransfer.files;
      upload.requestSubmit();
    });
    upload.addEventListener("submit", () => {
      const hint = document.getElementById("uploading");
      hint.hidden = false;
      hint.textContent = "Uploading. This page changes when all has come.";
    });
  }
  const text = document.getElementById("content");
  if (text) {
    const before = text.value;
    let leaving = false;
    text.form.addEventListener("submit", () => { leaving = true; });
    addEventListener("beforeunload", (event) => { if (!leaving && text.value !== before) event.preventDefault(); });
  }
})();
