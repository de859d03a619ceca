// What the judges of pages ask, evaluated before any page's own script.
"use strict";
window.judge = (() => {
	const refused = [];
	document.addEventListener("securitypolicyviolation", e => refused.push(`${e.effectiveDirective} refuses ${e.blockedURI} ${e.sample}`));
	const name = e => {
		if (!e || e === document.body) return "body";
		const said = (e.getAttribute("aria-label") || e.innerText || e.value || "").trim().slice(0, 40);
		return `${e.tagName.toLowerCase()}${e.id && "#" + e.id}${[...e.classList].map(c => "." + c).join("")} «${said}»`;
	};

	// Whether only screen readers get at it.
	const onlyHeard = e => {
		for (; e; e = e.parentElement) {
			const s = getComputedStyle(e);
			if (s.position === "absolute" && (s.clip !== "auto" || s.clipPath !== "none") && e.getBoundingClientRect().width <= 2) return true;
		}
		return false;
	};

	// The ways of the Tab key: what can have the focus, and what had it.
	let reached = [];
	document.addEventListener("focusin", e => {
		const s = getComputedStyle(e.target), r = e.target.getBoundingClientRect();
		let fault = "";
		if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) fault = "nothing shows that it has the focus";
		else if (r.width === 0 || r.right <= 0 || r.bottom <= 0 || r.top >= innerHeight || r.left >= innerWidth) fault = "it has the focus out of sight";
		reached.push({element: e.target, fault});
	});
	const stops = () => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")].filter(e =>
		e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0 && e.type !== "hidden" &&
		!(e.type === "radio" && !e.checked && document.querySelector(`input[type=radio][name="${CSS.escape(e.name)}"]`) !== e) &&
		!(e.type === "radio" && e.checked === false && document.querySelector(`input[type=radio][name="${CSS.escape(e.name)}"]:checked`)));

	return {
		refused: () => refused,
		foreign: () => performance.getEntriesByType("resource").map(e => e.name).filter(u => !u.startsWith(location.origin + "/") && !u.startsWith("data:")),
		wide: () => {
			const wide = document.documentElement.clientWidth, list = [];
			if (document.documentElement.scrollWidth > wide) list.push("the document");
			for (const e of document.querySelectorAll("body *")) {
				if (e.classList.contains("skip") || !e.checkVisibility() || onlyHeard(e)) continue;
				const r = e.getBoundingClientRect();
				if (r.width > 0 && (r.right > wide + 1 || r.left < -1)) list.push(name(e));
			}
			return list;
		},
		// Text that its box cuts off and that nobody can get to by scrolling.
		cut: () => [...document.querySelectorAll("body *")].filter(e => {
			const s = getComputedStyle(e);
			return e.checkVisibility() && e.innerText?.trim() && !e.matches(".skip") && e.clientWidth > 1 && !onlyHeard(e) &&
				(["hidden", "clip"].includes(s.overflowX) && e.scrollWidth > e.clientWidth + 1 || ["hidden", "clip"].includes(s.overflowY) && e.scrollHeight > e.clientHeight + 2);
		}).map(name),
		// Words that are broken though they would fit into a line.
		broken: () => {
			const list = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
			for (let n; n = walk.nextNode();) {
				if (!n.parentElement.checkVisibility() || n.parentElement.closest("pre, code, .skip") || onlyHeard(n.parentElement)) continue;
				for (const m of n.data.matchAll(/(?<!\S)\p{L}{3,16}(?![^\s.,;:?!])/gu)) {
					range.setStart(n, m.index);
					range.setEnd(n, m.index + m[0].length);
					if (new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top / 4))).size > 1) list.push(`${name(n.parentElement)}: ${m[0]}`);
				}
			}
			return list;
		},
		shape: () => ["wide", "cut", "broken"].flatMap(what => judge[what]().map(fault => `${what}: ${fault}`)),
		begin: () => { reached = []; document.activeElement?.blur(); getSelection().removeAllRanges(); scrollTo(0, 0); return stops().length; },
		ways: () => {
			const had = new Set(reached.map(r => r.element)), faults = reached.filter(r => r.fault).map(r => `${name(r.element)}: ${r.fault}`);
			return [...new Set(faults)].concat(stops().filter(e => !had.has(e)).map(e => `${name(e)}: Tab does not lead there`));
		},
		axe: async () => {
			const found = await axe.run(document, {resultTypes: ["violations"]});
			return found.violations.map(v => `${v.id} (${v.help}): ` + v.nodes.slice(0, 4).map(n => n.target.join(" ") + " " + n.failureSummary.replace(/\s+/g, " ").slice(0, 200)).join("; "));
		},
	};
})();
