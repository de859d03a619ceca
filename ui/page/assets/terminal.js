// The terminal of a pod: xterm.js on a WebSocket. What is typed and shown are binary
// messages; text messages are JSON, see serveTerminalSocket.
"use strict";
(() => {
  const box = document.getElementById("terminal");
  if (!box) return;
  const part = (name) => document.getElementById("terminal-" + name);
  const state = part("state"), again = part("again"), screen = part("screen"), reader = part("reader"), keys = part("keys");
  const size = 14, piece = 16384, tell = 32768;

  // The policy of the page refuses style elements and style attributes, in which
  // xterm writes its colours and sizes. What goes into an element here becomes a
  // sheet of the document instead, and the attribute goes by the object model:
  // both are the script's own doing, which the policy lets in, and neither is a way
  // for markup to bring style along.
  const create = document.createElement.bind(document);
  document.createElement = (name, options) => String(name).toLowerCase() === "style" ? sheetLike() : create(name, options);
  function sheetLike() {
    const element = create("template"), sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    const text = { get: () => "", set: (css) => { sheet.replaceSync(css); } };
    Object.defineProperties(element, { textContent: text, innerText: text, sheet: { value: sheet } });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
      Element.prototype.remove.call(element);
    };
    return element;
  }
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };

  function show(kind, words) {
    box.dataset.state = kind;
    state.textContent = words;
    again.hidden = kind !== "ended";
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue("--" + name).trim();
    const text = of("text"), tint = of("tint");
    return {
      background: of("card"), foreground: text, cursor: of("accent"), cursorAccent: of("card"), selectionBackground: tint, selectionInactiveBackground: tint,
      black: dark.matches ? "#45443e" : "#22201c", brightBlack: of("edge"), white: dark.matches ? "#d6d2c8" : "#b5b0a6", brightWhite: dark.matches ? "#ffffff" : "#dcd7cd",
      red: of("bad"), brightRed: of("bad"), green: of("good"), brightGreen: of("good"), yellow: of("warn"), brightYellow: of("warn"),
      blue: dark.matches ? "#8fb8f0" : "#2356a8", brightBlue: dark.matches ? "#8fb8f0" : "#2356a8",
      magenta: dark.matches ? "#d3a6ea" : "#8a3a9c", brightMagenta: dark.matches ? "#d3a6ea" : "#8a3a9c", cyan: of("accent"), brightCyan: of("accent"),
    };
  }

  function stylesheet(href) {
    return new Promise((done, failed) => {
      const link = create("link");
      link.rel = "stylesheet";
      link.href = href;
      link.onload = done;
      link.onerror = failed;
      document.head.append(link);
    });
  }

  async function start() {
    const [{ Terminal }, { FitAddon }] = await Promise.all([import(box.dataset.xterm), import(box.dataset.fit), stylesheet(box.dataset.sheet)]);
    const term = new Terminal({
      fontFamily: "ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace", fontSize: size, lineHeight: 1.15,
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches, scrollback: 5000, minimumContrastRatio: 4.5, theme: theme(),
      screenReaderMode: false, macOptionIsMeta: true, linkHandler: { activate() {} }, // a link that a program makes up leads nowhere
    });
    const fit = new FitAddon(), encoder = new TextEncoder();
    term.loadAddon(fit);
    box.hidden = false;
    term.open(screen);
    fit.fit();
    let socket = null, ctrl = false, unsaid = 0;

    const open = () => socket && socket.readyState === WebSocket.OPEN;
    const say = (what) => { if (open()) socket.send(JSON.stringify(what)); };
    function type(bytes) {
      for (let i = 0; open() && i < bytes.length; i += piece) socket.send(bytes.subarray(i, i + piece));
    }
    function press(text) {
      if (ctrl && text.length === 1) {
        const code = text.toUpperCase().charCodeAt(0);
        if (code >= 63 && code <= 95) text = String.fromCharCode(code === 63 ? 127 : code & 31);
        hold(false);
      }
      type(encoder.encode(text));
    }
    function hold(on) {
      ctrl = on;
      keys.querySelector('[data-key="ctrl"]').setAttribute("aria-pressed", String(on));
    }

    function connect() {
      show("connecting", "Connecting …");
      unsaid = 0;
      const at = new URL(location.pathname + "/socket", location.href);
      at.protocol = at.protocol.replace("http", "ws");
      at.search = new URLSearchParams({ columns: term.cols, rows: term.rows }).toString();
      const mine = socket = new WebSocket(at);
      mine.binaryType = "arraybuffer";
      mine.onmessage = (e) => {
        if (typeof e.data === "string") {
          show("open", "Connected");
          say({ columns: term.cols, rows: term.rows });
          return;
        }
        term.write(new Uint8Array(e.data), () => {
          unsaid += e.data.byteLength;
          if (unsaid >= tell && mine === socket) { say({ seen: unsaid }); unsaid = 0; }
        });
      };
      mine.onclose = (e) => {
        if (mine !== socket) return;
        socket = null;
        const words = e.reason || (box.dataset.state === "open" ? "the connection broke off" : "there is no connection; reload the page");
        show("ended", "Ended: " + words + ".");
        if (screen.contains(document.activeElement)) again.focus();
      };
    }

    term.onData(press);
    term.onBinary((s) => type(Uint8Array.from(s, (c) => c.charCodeAt(0))));
    term.onResize(({ cols, rows }) => say({ columns: cols, rows }));
    term.attachCustomKeyEventHandler((e) => {
      if (e.type !== "keydown") return true;
      if (e.key === "Tab" && !open()) return false; // it leads on where nothing takes it
      if (e.shiftKey && e.key === "Escape") { reader.focus(); return false; }
      if (e.ctrlKey && e.shiftKey && e.key === "C" && term.hasSelection() && navigator.clipboard) {
        e.preventDefault();
        navigator.clipboard.writeText(term.getSelection());
        return false;
      }
      return true;
    });
    again.addEventListener("click", () => { term.reset(); connect(); term.focus(); });
    reader.addEventListener("change", () => { term.options.screenReaderMode = reader.checked; });
    dark.addEventListener("change", () => { term.options.theme = theme(); });

    const codes = { esc: "\x1b", tab: "\t" }, arrows = { up: "A", down: "B", right: "C", left: "D" };
    const paste = keys.querySelector('[data-key="paste"]');
    paste.hidden = !(navigator.clipboard && navigator.clipboard.readText);
    keys.addEventListener("pointerdown", (e) => e.preventDefault()); // the keyboard of a phone stays open
    keys.addEventListener("click", async (e) => {
      const key = e.target.dataset.key;
      if (!key) return;
      if (key === "ctrl") hold(!ctrl);
      else if (key === "paste") term.paste(await navigator.clipboard.readText().catch(() => ""));
      else if (arrows[key]) press((term.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[") + arrows[key]);
      else press(codes[key]);
      term.focus();
    });

    new ResizeObserver(() => fit.fit()).observe(screen);
    if (window.visualViewport) {
      const view = () => document.documentElement.style.setProperty("--view", visualViewport.height + "px");
      visualViewport.addEventListener("resize", view);
      view();
    }
    connect();
    term.focus();
  }
  start().catch((e) => { console.error(e); box.hidden = false; show("ended", "The terminal could not be loaded. Reload the page."); });
})();
