// Controls that several pages have: a choice of one thing, switches of which one is on, a number, a menu.
"use strict";

(() => {
  const { h } = robuststack;
  let groups = 0;

  const labelled = (label, control) => h("label", { class: "choice" }, h("span", {}, label), control);

  /** A list of values to choose from, shown as `texts`. `changed` is called with the value. */
  const choice = (label, values, texts, chosen, changed) => {
    const select = h("select", { "aria-label": label, onchange: () => changed(select.value) },
      values.map((value, i) => h("option", { value, selected: value === chosen }, texts[i])));
    return labelled(label, select);
  };

  /** A number that may be left empty; `changed` is called with its text. */
  const numberField = (label, value, { unit, ...limits }, changed) => {
    const input = h("input", { type: "number", "aria-label": `${label} (${unit})`, value, placeholder: "any", step: "any", ...limits,
      oninput: () => changed(input.checkValidity() ? input.value : "") });
    return labelled(`${label} (${unit})`, input);
  };

  /** Radio buttons that look like one control; each choice has a `key`, a `label` and perhaps a `meaning`. */
  const switches = (legend, choices, chosen, changed, { visible = true } = {}) => {
    const name = `switches-${groups++}`;
    return h("fieldset", { class: visible ? "choice" : "" }, h("legend", { class: !visible && "hidden" }, legend),
      h("div", { class: "segmented" }, choices.map((item) =>
        h("label", { title: item.meaning }, h("input", { type: "radio", name, value: item.key, checked: item.key === chosen, onchange: () => changed(item.key) }), h("span", {}, item.label)))));
  };

  /** What opens below its name, and closes at Escape and at a click elsewhere. */
  const menu = (name, ...content) => {
    const details = h("details", { class: "menu" }, h("summary", {}, name), content);
    details.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { details.open = false; details.querySelector("summary").focus(); }
    });
    document.addEventListener("click", (event) => { if (!details.contains(event.target)) details.open = false; });
    return details;
  };

  Object.assign(robuststack, { choice, numberField, switches, menu });
})();
