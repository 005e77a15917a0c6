// The page of a leaderboard: filters, planes, table, entries, and what was published.
"use strict";

(() => {
  const { h, prose, fixed, figureElement, plural, section, plainTable, claimCells, command, swatch, value, recordOf, EXPECTED, switches, menu, exportMenu, readAddress, writeChoices } = robuststack;

  const FIRST_PLANES = 4;  // The others are drawn one after the other, once the page can be used.

  const facts = (board) =>
    h("p", { class: "facts" },
      board.title !== board.name && h("code", {}, board.name),
      board.smoke && h("span", { class: "tag bad" }, "smoke: figures mean nothing"),
      !board.complete && h("span", { class: "tag bad" }, "partial: some rows of the suite are missing"),
      board.overrides.length > 0 && h("span", { class: "tag" }, `overrides: ${board.overrides.join(", ")}`),
      [plural(board.rows.length, "row"), plural(board.entries.length, "defense entry", "defense entries"),
       `${board.device}, ${board.precision}`].join(" · "));

  const key = () =>
    h("p", { class: "note" }, "Joined filled marks are one model at the settings of its knob; hollow marks are models trained for one setting each. ",
      "Bars are 95 % intervals", h("span", { class: "on-plane" }, ", and the broad line is the Pareto front of what is shown"),
      ". Select a mark to open its row.");

  /** The hypervolume with its interval, if the labels behind it were there. */
  const volume = ({ hypervolume, certainty }) => (certainty ? figureElement({ value: hypervolume, ...certainty }) : fixed(hypervolume));
  const agreed = (share) => (share === undefined ? "" : ` (${Math.round(100 * share)} %)`);

  const entriesOf = (board) =>
    plainTable("Each defense as one entry", ["Defense", "Data, network", "Models", "Settings", "Hypervolume %", "Knee", "Dominated settings"],
      board.entries.map((entry) => [
        h("span", { class: "named" }, swatch(board, entry.defense), entry.title), entry.heading, String(entry.models), String(entry.settings),
        h("span", { class: "meter", style: `--part:${entry.hypervolume}%` }, volume(entry)),
        `${entry.knee ?? "–"}${agreed(entry.settings > 2 ? entry.certainty?.knee : undefined)}`,
        entry.dominated.length ? h("details", {}, h("summary", {}, `${entry.dominated.length} of ${entry.settings}`),
          entry.dominated.map((name) => `${name}${agreed(entry.certainty?.dominated[name])}`).join(", ")) : "–",
      ]), [2, 3, 4]);

  const claimsOf = (board) =>
    plainTable("Published comparisons beside ours", ["Claim", "Published", "Ours", "Verdict", "Between", "Source"], board.claims.map(claimCells), [1, 2]);

  const referencesOf = (board) =>
    plainTable("Published figures, not ours", ["Defense", "Kind", "Setting", "CA %", "RA %", "Note", "Source"],
      board.reference.map((quoted) => [
        quoted.defense, h("span", { class: "tag quoted" }, "published"), quoted.setting || "–", fixed(quoted.ca),
        Object.entries(quoted.ra).map(([attack, ra]) => `${attack} ${value(ra)}`).join(", ") || "–", quoted.note || "–", quoted.source,
      ]), [3]);

  /** A menu of check boxes, one for each column; `changed` is called after each change. */
  const columnMenu = (table, columns, changed) =>
    menu("Columns", h("div", { role: "group", "aria-label": "Columns shown" }, columns.map((column) =>
      h("label", {}, h("input", { type: "checkbox", "data-column": column.field, checked: column.shown, onchange: (event) => {
        event.target.checked ? table.showColumn(column.field) : table.hideColumn(column.field);
        changed();
      } }), column.name ?? column.title))));

  /** A column and a direction, as an address has them: `ra worst desc`. */
  const sortedBy = (text, columns) => {
    const [, column, dir] = text?.match(/^(.*) (asc|desc)$/) ?? [];
    return columns.some((candidate) => candidate.field === column) ? { column, dir } : null;
  };

  /** Whether a column is shown, unasked: of one attack its own column alone, of the worst case what the table shows at first. */
  const isUsual = (usual, attack) => (field) => (attack === "worst" || !field.startsWith("ra ") ? usual.get(field) : field === `ra ${attack}`);

  const suitePage = (board, main) => {
    const { choices } = readAddress();
    const narrow = window.innerWidth < 700;
    const axes = robuststack.axes(board);
    let x = axes.find((axis) => axis.key === choices.get("axis")) ?? axes[0];
    const planes = h("div", { class: "planes" });
    const status = h("p", { class: "hidden", role: "status" });
    const missing = h("p", { class: "note" });
    const place = h("div", { class: "grid-table" });
    const filters = robuststack.makeFilters(board, choices, changed);
    const columns = robuststack.columns(board, narrow, robuststack.makePicker(board, status));
    const usual = new Map(columns.map((column) => [column.field, column.shown]));
    const asked = choices.getAll("column").filter((field) => usual.has(field));
    for (const column of columns) column.shown = asked.length ? asked.includes(column.field) : isUsual(usual, filters.state.attack)(column.field);
    let sorted = sortedBy(choices.get("sort"), columns);
    let table = null;
    let waiting = 0;
    let left = false;

    /** What was chosen goes into the address. */
    function remember() {
      const shown = table.getColumns().filter((column) => column.isVisible()).map((column) => column.getField());
      const unasked = columns.map((column) => column.field).filter(isUsual(usual, filters.state.attack));
      const same = shown.length === unasked.length && shown.every((field) => unasked.includes(field));
      writeChoices({ ...filters.chosen(), axis: x === axes[0] ? "" : x.key, sort: sorted ? `${sorted.column} ${sorted.dir}` : "", column: same ? [] : shown });
    }

    function draw() {
      const { state } = filters;
      const protocol = state.protocol || board.rows[0]?.protocol;
      const wanted = board.rows.map((row) => recordOf(row, protocol, state.reading)).filter(filters.accepts);
      const rows = wanted.filter((record) => record.ca).map((record) => record.row);
      const headings = board.headings.filter((heading) => rows.some((row) => row.site.heading === heading));
      const width = panelWidth(planes, headings.length);
      const drawn = (heading) => robuststack.plane(board, heading, rows.filter((row) => row.site.heading === heading), x, state.attack, protocol, state.reading, width);
      const [now, later] = [headings.slice(0, FIRST_PLANES), headings.slice(FIRST_PLANES)];
      const panels = now.map(drawn).filter(Boolean);
      planes.classList.toggle("single", panels.length + later.length === 1);
      planes.replaceChildren(...(panels.length + later.length ? panels : [h("p", { class: "note" }, "No row matches these filters.")]));
      planes.dataset.axis = x.key;
      clearTimeout(waiting);
      const next = () => {
        const panel = later.length ? drawn(later.shift()) : null;
        if (panel) planes.append(panel);
        if (later.length) waiting = setTimeout(next, 30);
      };
      if (later.length) waiting = setTimeout(next, 100);
      const by = [protocol, state.reading !== EXPECTED && state.reading].filter(Boolean).join(", ");
      missing.textContent = wanted.length > rows.length ? `${plural(wanted.length - rows.length, "row")} not shown: not scored by ${by}.` : "";
      return rows.length;
    }

    function changed(key) {
      if (left) return;  // A field may report its change as it is removed.
      const shown = draw();
      status.textContent = `${plural(shown, "row")} shown`;
      if (!table) return;
      table.setFilter(filters.accepts);
      if (key === "attack") showAttack(filters.state.attack);
      remember();
    }

    /** One attack chosen: its column alone; all of them again with the worst case. */
    function showAttack(attack) {
      for (const { field } of columns.filter((column) => column.field.startsWith("ra "))) {
        const shown = isUsual(usual, attack)(field);
        shown ? table.showColumn(field) : table.hideColumn(field);
        main.querySelector(`[data-column="${CSS.escape(field)}"]`).checked = shown;
      }
    }

    const bar = h("div", { class: "bar" }, h("h2", {}, "Rows"));
    const axis = switches("Horizontal axis", axes, x.key, (key) => { x = axes.find((candidate) => candidate.key === key); draw(); remember(); }, { visible: false });
    main.replaceChildren(
      h("div", { class: "title" }, h("h1", {}, board.title), h("p", { class: "lead" }, prose(board.description)), facts(board)),
      auditLine(board),
      ...board.saturated.map((line) => h("p", { class: "note bad-note" }, h("b", {}, "Suspicious: "), line, ".")),
      filters.element, status, missing,
      h("section", { class: "tradeoff" }, h("div", { class: "bar" }, h("h2", {}, "Robust accuracy over"), axis), planes, key()),
      h("section", { class: "rows" }, bar, place,
        h("p", { class: "note" }, "CA is clean accuracy and RA robust accuracy, in percent with 95 % intervals; RA worst is, image by image, the worst of all attacks. Rows are sorted within their data set, network and threat model. Press vs in two rows to compare them with the paired test.")),
      section("Each defense as one entry", entriesOf(board), h("p", { class: "note" },
        "The hypervolume is the share of the plane of clean and robust accuracy that a defense's settings dominate together; the knee is the setting farthest beyond the line between the ends of its front. Brackets hold the 95 % interval, and the share of fronts, drawn again with the variance of images, seeds and draws, that have the same knee or in which the setting is dominated.")),
      h("div", { class: "games" }, robuststack.gamesOf(board, gameWidth(main))),
      board.claims.length ? section("Published comparisons beside ours", claimsOf(board)) : "",
      board.reference.length ? h("section", { class: "reference" }, h("h2", {}, "Published figures, not ours"),
        h("p", { class: "note" }, "Quoted from publications, obtained on other data, networks or budgets. They are not ranked and not drawn."), referencesOf(board)) : "",
      section("Run it again", command(board.command), h("p", { class: "note" },
        `Attacks: ${board.attacks.map((attack) => `${attack.label} (${attack.text})`).join("; ")}.`)));
    draw();
    table = robuststack.makeTable(board, place, columns, sorted);
    bar.append(columnMenu(table, columns, remember), exportMenu(board, table, columns, status));
    table.on("tableBuilt", () => {
      table.setFilter(filters.accepts);
      table.on("dataSorted", ([first]) => {
        const now = first ? { column: first.field, dir: first.dir } : null;
        if (now?.column === sorted?.column && now?.dir === sorted?.dir) return;
        sorted = now;
        remember();
      });
    });
    return { redraw: draw, leave: () => { left = true; clearTimeout(waiting); table.destroy(); } };
  };

  /** What the audit says of the rows, in a line; empty if none was audited. */
  const auditLine = (board) => {
    const audits = board.rows.map((row) => row.site.audit).filter(Boolean);
    if (!audits.length) return h("p", { class: "note" }, "Not audited: stronger attacks may find more.");
    const broken = audits.filter((audit) => audit.broken).length;
    const weak = audits.filter((audit) => audit.grave && !audit.broken).length;
    const found = [broken && `${broken} broken`, weak && `${weak} weak: stronger attacks find more`].filter(Boolean).join(", ") || "none broken, none weak";
    return h("p", { class: broken + weak ? "note bad-note" : "note" }, h("b", {}, "Audit: "), `of ${plural(audits.length, "audited row")}, ${found}.`);
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
