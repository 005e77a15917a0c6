// What is shown: one choice of each kind, and the defenses as a legend whose entries can be switched off.
"use strict";

(() => {
  const { h, swatch, unique, choice, switches } = robuststack;
  const ALL = "";
  const MANY_ROWS = 40;  // From here on there is a field to find rows by words.
  const MOST_SWITCHES = 5;  // More than that are a list to choose from.
  const MEANINGS = {
    off: "The attacker knows the model with its noise off", surrogate: "The attacker has frozen draws of its own",
    adaptive: "The attacker knows the distribution of the noise", frozen_known: "The attacker knows the very draw that is deployed",
    expected: "One query, one draw of the noise",
  };

  const meaningOf = (key) => MEANINGS[key] ?? (key.startsWith("majority") ? "A vote of so many draws" : key.startsWith("any") ? "Robust only if all of so many tries are right" : null);

  /** (element, state, accepts, chosen): the controls of a board, what they say, whether a record is wanted, and the choices that
   * differ from the first ones, as an address has them. `changed` is called after each change with what changed. */
  const makeFilters = (board, choices, changed) => {
    const all = robuststack.records(board);
    const protocols = unique(all.map((record) => record.protocol));
    const readings = robuststack.readingsOf(board);
    const attacks = board.attacks.map((attack) => attack.label);
    const defenses = unique(board.rows.map((row) => row.defense));
    const valid = {
      dataset: [ALL, ...unique(all.map((record) => record.dataset))], architecture: [ALL, ...unique(all.map((record) => record.architecture))],
      attack: ["worst", ...attacks], protocol: [protocols[0], ...protocols.slice(1), ALL], reading: readings,
    };
    const usual = Object.fromEntries(Object.entries(valid).map(([key, values]) => [key, values[0]]));
    const asked = (key) => { const text = key === "protocol" && choices.get(key) === "all" ? ALL : choices.get(key); return valid[key].includes(text) ? text : usual[key]; };
    const state = { find: choices.get("find") ?? "", ...Object.fromEntries(Object.keys(valid).map((key) => [key, asked(key)])), off: new Set(choices.getAll("off").filter((defense) => defenses.includes(defense))) };
    const set = (key) => (value) => { state[key] = value; changed(key); };
    const of = (label, key, word) => choice(label, valid[key], [`all ${word}`, ...valid[key].slice(1)], state[key], set(key));
    const oneOf = (label, key, texts) => (valid[key].length <= MOST_SWITCHES
      ? switches(label, valid[key].map((value, i) => ({ key: value, label: texts[i], meaning: meaningOf(value) })), state[key], set(key))
      : choice(label, valid[key], texts, state[key], set(key)));
    const chips = defenses.map((defense) => {
      const chip = h("button", { type: "button", class: "chip", "aria-pressed": String(!state.off.has(defense)), onclick: () => {
        state.off.has(defense) ? state.off.delete(defense) : state.off.add(defense);
        chip.setAttribute("aria-pressed", String(!state.off.has(defense)));
        changed("defense");
      } }, swatch(board, defense), defense);
      return chip;
    });
    const element = h("form", { class: "filters", "aria-label": "Filters", onsubmit: (event) => event.preventDefault() },
      of("Dataset", "dataset", "datasets"),
      of("Architecture", "architecture", "architectures"),
      choice("Attack", valid.attack, ["worst case of all", ...attacks], state.attack, set("attack")),
      protocols.length > 1 && oneOf("Protocol", "protocol", [...protocols, "all"]),
      readings.length > 1 && oneOf("Reading", "reading", readings),
      board.rows.length > MANY_ROWS && h("label", { class: "choice" }, h("span", {}, "Find"), h("input", { type: "search", "aria-label": "Find rows by words of their label",
        value: state.find, oninput: (event) => set("find")(event.target.value) })),
      h("div", { class: "chips", role: "group", "aria-label": "Defenses shown" }, chips));
    // Where a word begins, as `--only` has it: `oat` is not in `float`.
    const begins = (word) => new RegExp(`${/^[a-z0-9]/i.test(word) ? "(?<![A-Za-z0-9_])" : ""}${word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`, "i");
    const hasWords = ({ label }) => state.find.trim().split(/\s+/).every((word) => begins(word).test(label));
    const accepts = (record) =>
      (!state.find || hasWords(record.row)) && (!state.dataset || record.dataset === state.dataset) && (!state.architecture || record.architecture === state.architecture) &&
      (!state.protocol || record.protocol === state.protocol) && record.reading === state.reading && !state.off.has(record.defense);
    const chosen = () => ({
      ...Object.fromEntries(Object.keys(valid).map((key) => [key, state[key] === usual[key] ? "" : state[key] || "all"])), off: [...state.off], find: state.find,
    });
    return { element, state, accepts, chosen };
  };

  Object.assign(robuststack, { makeFilters });
})();
