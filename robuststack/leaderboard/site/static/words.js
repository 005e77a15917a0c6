// Numbers as text, and elements without markup in strings: a label is never read as HTML.
"use strict";

const robuststack = { boards: [] };

(() => {
  /** An element: attributes (`on*` are listeners), then children, of which null and false are left out. */
  const h = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false && one !== ""));
    return element;
  };

  const fixed = (value, digits = 1) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

  /** `1.67 M`: a count as people say it. */
  const short = (value) => {
    if (value === null || value === undefined) return "–";
    const [step, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([one]) => value >= one) ?? [1, ""];
    return `${+(value / step).toPrecision(3)}${unit && `\u202f${unit}`}`;
  };

  /** `98.4 [97.0, 99.2]` as text, for titles and screen readers. */
  const figure = (one) => (one ? [fixed(one.value), interval(one)].filter(Boolean).join(" ") : "–");

  /** Its interval, if it has one, and of several seeds the lowest and the highest. */
  const interval = (one) =>
    [one.low !== null && `[${fixed(one.low)}, ${fixed(one.high)}]`, one.lowest != null && `(${fixed(one.lowest)}–${fixed(one.highest)})`].filter(Boolean).join(" ");

  /** The same as an element: the interval beside the value, in a quieter tone. */
  const figureElement = (one) =>
    one
      ? h("span", { class: "figure" }, h("b", {}, fixed(one.value)), " ",
          h("span", { class: "interval" }, interval(one)))
      : h("span", { class: "absent" }, "–");

  /** A measured number, or a cell of a plugin. Options, knobs and radii come as text. */
  const value = (one) => {
    if (one === null || one === undefined) return "–";
    if (typeof one === "number") return Number.isInteger(one) ? String(one) : String(+one.toPrecision(4));
    return String(one);
  };

  const plural = (n, noun, many = `${noun}s`) => `${n} ${n === 1 ? noun : many}`;
  const unique = (values) => [...new Set(values)];

  /** A plain table that scrolls sideways within itself; cells are text or elements, `right` says which columns are numbers. */
  const plainTable = (caption, header, rows, right = []) =>
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", { class: "plain-table" },
        h("caption", { class: "hidden" }, caption),
        h("thead", {}, h("tr", {}, header.map((one, i) => h("th", { scope: "col", class: right.includes(i) && "right" }, one)))),
        h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) =>
          i ? h("td", { class: right.includes(i) && "right" }, cell) : h("th", { scope: "row" }, cell)))))));

  /** A command with a button that copies it. */
  const command = (text) => {
    const button = h("button", { type: "button", class: "plain", onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {  // A page from disk may not have the clipboard: the text is selected instead.
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    } }, "Copy");
    const code = h("code", { tabindex: "0" }, text);
    return h("div", { class: "command" }, code, button);
  };

  /** Text in which `code` stands between backticks. */
  const prose = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));

  /** A chart of Plot's for screen readers: a `group` holds links, an `img` is one picture. Its parts have names, so they need a role. */
  const accessible = (svg, role) => {
    svg.setAttribute("role", role);
    for (const part of svg.querySelectorAll("g[aria-label]")) part.setAttribute("role", "group");
    return svg;
  };

  const section = (title, ...children) => h("section", {}, h("h2", {}, title), children);

  Object.assign(robuststack, { plainTable, prose, accessible, command, section, h, fixed, count, short, figure, figureElement, value, plural, unique });
})();
