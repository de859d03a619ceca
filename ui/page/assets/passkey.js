// Passkeys: the browser asks the person's device, and the form is sent with what it
// answers. Without this file, or a browser that knows passkeys, there is the password.
"use strict";
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  const encoded = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const named = (ids) => (ids || "").split(" ").filter(Boolean).map((id) => ({ type: "public-key", id: bytes(id) }));

  // What the server has to check, and nothing else that a browser would say.
  const answer = (credential) => {
    const fields = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
    const response = {};
    for (const name of fields) {
      if (credential.response[name]) response[name] = encoded(credential.response[name]);
    }
    return JSON.stringify({ id: credential.id, rawId: encoded(credential.rawId), type: credential.type, response, clientExtensionResults: {} });
  };

  const options = {
    get: (d) => ({ challenge: bytes(d.challenge), rpId: d.host, allowCredentials: named(d.ids), userVerification: "required" }),
    create: (d) => ({
      challenge: bytes(d.challenge), rp: { id: d.host, name: "podgate" },
      user: { id: bytes(d.handle), name: d.user, displayName: d.user },
      pubKeyCredParams: d.kinds.split(" ").map((kind) => ({ type: "public-key", alg: Number(kind) })),
      excludeCredentials: named(d.ids), attestation: "none",
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
    }),
  };

  const trouble = (what, error) => {
    if (error.name === "InvalidStateError") return "This device has a passkey of yours for podgate already.";
    if (error.name === "NotAllowedError") return what === "create" ? "No passkey was made. Try once more." : "No passkey was used. Try once more, or use your password.";
    return "The browser could not do it: " + error.message;
  };

  let waiting; // the question that stands in the field for the address
  const ask = async (form, more) => {
    const what = form.dataset.passkey;
    const credential = await navigator.credentials[what]({ publicKey: options[what](form.dataset), ...more });
    if (!credential) return;
    form.elements.answer.value = answer(credential);
    form.submit();
  };

  for (const without of document.querySelectorAll("[data-without-passkeys]")) without.hidden = true;
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const says = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      waiting?.abort();
      says.hidden = true;
      try {
        await ask(form);
      } catch (error) {
        says.textContent = trouble(form.dataset.passkey, error);
        says.hidden = false;
      }
    });
    if ("offer" in form.dataset && PublicKeyCredential.isConditionalMediationAvailable) {
      (async () => {
        if (!(await PublicKeyCredential.isConditionalMediationAvailable())) return;
        waiting = new AbortController();
        await ask(form, { mediation: "conditional", signal: waiting.signal });
      })().catch(() => {}); // nothing was chosen, or the button was pressed in its place
    }
  }
})();
