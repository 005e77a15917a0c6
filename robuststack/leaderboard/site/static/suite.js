// The page of a leaderboard: filters, planes, table, entries, and what was published.
"use strict";

(() => {
  const { h, fixed, figureElement, plural, section, plainTable, command, swatch, value } = robuststack;

  const facts = (board) =>
    h("p", { class: "facts" },
      !board.complete && h("span", { class: "tag bad" }, "partial: some rows of the suite are missing"),
      board.overrides.length > 0 && h("span", { class: "tag" }, `overrides: ${board.overrides.join(", ")}`),
      [plural(board.rows.length, "row"), plural(board.entries.length, "defense entry").replace("entrys", "entries"),
       `${board.device}, ${board.precision}`].join(" · "));

  /** Radio buttons that look like one control. */
  const segmented = (legend, choices, changed) =>
    h("fieldset", { class: "segmented" }, h("legend", { class: "hidden" }, legend), choices.map((one, i) =>
      h("label", {}, h("input", { type: "radio", name: "axis", value: one.key, checked: i === 0, onchange: () => changed(one) }), h("span", {}, one.label))));

  const key = () =>
    h("p", { class: "note" }, "Joined filled marks are one model at the settings of its knob; hollow marks are models trained for one setting each. ",
      "Bars are 95 % intervals", h("span", { class: "on-plane" }, ", and the broad line is the Pareto front of what is shown"),
      ". Select a mark to open its row.");

  /** The hypervolume with its interval, if the labels behind it were there. */
  const volume = ({ hypervolume, certainty }) => (certainty ? figureElement({ value: hypervolume, ...certainty }) : fixed(hypervolume));
  const agreed = (share) => (share === undefined ? "" : ` (${Math.round(100 * share)} %)`);

  const entriesOf = (board) =>
    plainTable("Each defense as one entry", ["Defense", "Data, network", "Models", "Settings", "Hypervolume %", "Knee", "Dominated settings"],
      board.entries.map((one) => [
        h("span", { class: "named" }, swatch(board, one.defense), one.title), one.heading, String(one.models), String(one.settings),
        h("span", { class: "meter", style: `--part:${one.hypervolume}%` }, volume(one)),
        `${one.knee ?? "–"}${agreed(one.settings > 2 ? one.certainty?.knee : undefined)}`,
        one.dominated.length ? h("details", {}, h("summary", {}, `${one.dominated.length} of ${one.settings}`),
          one.dominated.map((name) => `${name}${agreed(one.certainty?.dominated[name])}`).join(", ")) : "–",
      ]), [2, 3, 4]);

  const claimsOf = (board) =>
    plainTable("Published comparisons beside ours", ["Claim", "Published", "Ours", "Between", "Source"],
      board.claims.map((one) => {
        const unit = (number) => (one.how === "difference" ? `${number >= 0 ? "+" : "−"}${fixed(Math.abs(number), 2)} points` : `${fixed(number, 2)}×`);
        const between = one.ours?.of ? `${one.ours.of} against ${one.ours.against}` : one.ours ? `mean of ${plural(one.ours.pairs, "pair")}` : "–";
        return [one.claim, unit(one.published), one.ours ? unit(one.ours.value) : "no such pair of rows", between, one.source];
      }), [1, 2]);

  const referencesOf = (board) =>
    plainTable("Published figures, not ours", ["Defense", "", "Setting", "CA %", "RA %", "Note", "Source"],
      board.reference.map((one) => [
        one.defense, h("span", { class: "tag quoted" }, "published"), one.setting || "–", fixed(one.ca),
        Object.entries(one.ra).map(([attack, ra]) => `${attack} ${value(ra)}`).join(", ") || "–", one.note || "–", one.source,
      ]), [3]);

  /** A menu of check boxes, one for each column. */
  const columnMenu = (table, columns) => {
    const menu = h("details", { class: "menu" }, h("summary", {}, "Columns"),
      h("div", { role: "group", "aria-label": "Columns shown" }, columns.map((one) =>
        h("label", {}, h("input", { type: "checkbox", "data-column": one.field, checked: one.shown, onchange: (event) =>
          event.target.checked ? table.showColumn(one.field) : table.hideColumn(one.field) }), one.name ?? one.title))));
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
    });
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
    return menu;
  };

  const suitePage = (board, main) => {
    const narrow = window.innerWidth < 700;
    const choices = robuststack.axes(board);
    let x = choices[0];
    const planes = h("div", { class: "planes" });
    const status = h("p", { class: "hidden", role: "status" });
    const place = h("div", { class: "grid-table" });
    const columns = robuststack.columns(board, narrow, robuststack.makePicker(board, status));
    const filters = robuststack.makeFilters(board, changed);
    let table = null;

    function draw() {
      const { state } = filters;
      const protocol = state.protocol || board.rows[0]?.protocol;
      const rows = board.rows.filter((row) => filters.accepts({
        ...row, dataset: row.variant[0], architecture: row.variant.slice(1).join(", "), protocol, reading: state.reading }));
      const headings = board.headings.filter((heading) => rows.some((row) => row.site.heading === heading));
      const width = panelWidth(planes, headings.length);
      const panels = headings.map((heading) => robuststack.plane(board, heading, rows.filter((row) => row.site.heading === heading), x, state.attack, protocol, state.reading, width));
      const drawn = panels.filter(Boolean);
      planes.classList.toggle("single", drawn.length === 1);
      planes.replaceChildren(...(drawn.length ? drawn : [h("p", { class: "note" }, "No row matches these filters.")]));
      planes.dataset.axis = x.key;
      return rows.length;
    }

    function changed(key) {
      const shown = draw();
      status.textContent = `${plural(shown, "row")} shown`;
      if (!table) return;
      table.setFilter(filters.accepts);
      if (key === "attack") showAttack(filters.state.attack);
    }

    /** One attack chosen: its column alone; all of them again with the worst case. */
    function showAttack(attack) {
      for (const one of columns.filter((column) => column.field.startsWith("ra "))) {
        const shown = attack === "worst" ? one.shown : one.field === `ra ${attack}`;
        shown ? table.showColumn(one.field) : table.hideColumn(one.field);
        main.querySelector(`[data-column="${CSS.escape(one.field)}"]`).checked = shown;
      }
    }

    const bar = h("div", { class: "bar" }, h("h2", {}, "Rows"));
    main.replaceChildren(
      h("div", { class: "title" }, h("h1", {}, board.name), h("p", { class: "lead" }, board.description), facts(board)),
      ...board.saturated.map((line) => h("p", { class: "note bad-note" }, h("b", {}, "Doubtful: "), line, ".")),
      filters.element, status,
      h("section", { class: "tradeoff" }, h("div", { class: "bar" }, h("h2", {}, "Robust accuracy over"), segmented("Horizontal axis", choices, (one) => { x = one; draw(); })), planes, key()),
      h("section", { class: "rows" }, bar, place,
        h("p", { class: "note" }, "CA is clean accuracy and RA robust accuracy, in percent with 95 % intervals; RA worst is, image by image, the worst of all attacks. Rows are sorted within their data set, network and threat model.")),
      section("Each defense as one entry", entriesOf(board), h("p", { class: "note" },
        "The hypervolume is the share of the plane of clean and robust accuracy that a defense's settings dominate together; the knee is the setting farthest beyond the line between the ends of its front. Brackets hold the 95 % interval, and the share of fronts, drawn again with the variance of images, seeds and draws, that have the same knee or in which the setting is dominated.")),
      h("div", { class: "games" }, robuststack.gamesOf(board, gameWidth(main))),
      board.claims.length ? section("Published comparisons beside ours", claimsOf(board)) : "",
      board.reference.length ? h("section", { class: "reference" }, h("h2", {}, "Published figures, not ours"),
        h("p", { class: "note" }, "Quoted from publications, obtained on other data, networks or budgets. They are not ranked and not drawn."), referencesOf(board)) : "",
      section("Run it again", command(board.command), h("p", { class: "note" },
        `Attacks: ${board.attacks.map((one) => `${one.label} (${one.text})`).join("; ")}.`)));
    draw();
    table = robuststack.makeTable(board, place, columns);
    bar.append(columnMenu(table, columns));
    table.on("tableBuilt", () => table.setFilter(filters.accepts));
    return { redraw: draw, leave: () => table.destroy() };
  };

  const gameWidth = (place) => {
    const room = place.clientWidth - 64 || Math.min(window.innerWidth - 32, 1180);
    return Math.max(260, room >= 840 ? Math.floor(room / 2) - 48 : room - 38);
  };

  const panelWidth = (place, panels) => {
    const room = place.clientWidth || Math.min(window.innerWidth - 32, 1180);
    const across = room >= 760 && panels > 1 ? 2 : 1;
    return Math.max(260, Math.min(680, Math.floor((room - (across - 1) * 20) / across) - (room < 500 ? 22 : 38)));
  };

  Object.assign(robuststack, { suitePage });
})();
