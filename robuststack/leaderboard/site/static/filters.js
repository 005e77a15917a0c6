// What is shown: one choice of each kind, and the defenses as a legend whose entries can be switched off.
"use strict";

(() => {
  const { h, swatch, unique } = robuststack;
  const ALL = "";

  const choice = (label, values, texts, changed) => {
    const select = h("select", { "aria-label": label, onchange: () => changed(select.value) }, values.map((one, i) => h("option", { value: one }, texts[i])));
    return h("label", { class: "choice" }, h("span", {}, label), select);
  };

  /** (element, state, accepts): the controls of a board, what they say, and whether a record is wanted. `changed` is called after each change. */
  const makeFilters = (board, changed) => {
    const all = robuststack.records(board);
    const protocols = unique(all.map((one) => one.protocol));
    const readings = robuststack.readingsOf(board);
    const state = { dataset: ALL, architecture: ALL, attack: "worst", protocol: protocols[0], reading: robuststack.EXPECTED, off: new Set() };
    const set = (key) => (one) => { state[key] = one; changed(key); };
    const of = (label, key, word) => {
      const values = unique(all.map((one) => one[key]));
      return choice(label, [ALL, ...values], [`all ${word}`, ...values], set(key));
    };
    const attacks = board.attacks.map((one) => one.label);
    const chips = unique(board.rows.map((row) => row.defense)).map((defense) => {
      const chip = h("button", { type: "button", class: "chip", "aria-pressed": "true", onclick: () => {
        state.off.has(defense) ? state.off.delete(defense) : state.off.add(defense);
        chip.setAttribute("aria-pressed", String(!state.off.has(defense)));
        changed("defense");
      } }, swatch(board, defense), defense);
      return chip;
    });
    const element = h("form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      of("Dataset", "dataset", "datasets"),
      of("Architecture", "architecture", "architectures"),
      choice("Attack", ["worst", ...attacks], ["worst case of all", ...attacks], set("attack")),
      choice("Protocol", [...protocols, ALL], [...protocols, "all protocols"], set("protocol")),
      readings.length > 1 && choice("Reading", readings, readings, set("reading")),
      h("div", { class: "chips", role: "group", "aria-label": "Defenses shown" }, chips));
    const accepts = (one) =>
      (!state.dataset || one.dataset === state.dataset) && (!state.architecture || one.architecture === state.architecture) &&
      (!state.protocol || one.protocol === state.protocol) && one.reading === state.reading && !state.off.has(one.defense);
    return { element, state, accepts };
  };

  Object.assign(robuststack, { makeFilters });
})();
