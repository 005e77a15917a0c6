// The table of a suite's rows: Tabulator with our columns. A record is a row under one protocol and one reading.
"use strict";

(() => {
  const { h, fixed, count, short, figureElement, swatch, value, unique, scoresOf, protocolsOf, readingsOf, EXPECTED } = robuststack;

  /** Without figures if the row was not scored so. */
  const recordOf = (row, protocol, reading) => ({
    id: `${row.site.id}/${protocol}/${reading}`, row, protocol, reading, ...scoresOf(row, protocol, reading), heading: row.site.heading,
    dataset: row.variant[0], architecture: row.variant.slice(1).join(", "), defense: row.defense,
  });

  const records = (board) => {
    const readings = readingsOf(board);
    return board.rows.flatMap((row) => protocolsOf(row).flatMap((protocol) => readings.map((reading) => recordOf(row, protocol, reading))))
      .filter((record) => record.ca);
  };

  const MOST_DRAWN = 300;  // A table of more rows keeps only those in sight in the page.

  const byValue = (a, b) => (a?.value ?? -1) - (b?.value ?? -1);
  const byNumber = (a, b) => (a ?? -1) - (b ?? -1);
  const numeric = { hozAlign: "right", headerHozAlign: "right", sorter: byNumber, headerSortStartingDir: "asc" };

  /** What columns a board has; `shown` says which of them stand there at first. */
  const columns = (board, narrow, picker) => {
    const rows = board.rows;
    const attacks = board.attacks.map((attack) => attack.label);
    const several = unique(rows.flatMap(protocolsOf)).length > 1;
    const batches = unique(rows.flatMap((row) => Object.keys(row.latency_ms)));
    const extra = unique(rows.flatMap((row) => Object.keys(row.extra ?? {})));
    const shifts = unique(rows.flatMap((row) => Object.keys(row.shift ?? {})));
    const sparse = rows.some((row) => row.nonzero_parameters !== row.parameters);
    const accuracy = (field, title, get, shown, meaning) => ({
      field, title, shown, meaning, figure: get, hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc", ...(narrow ? { width: 98 } : {}),
      sorter: (a, b, first, second) => byValue(get(first.getData()), get(second.getData())),
      formatter: (cell) => figureElement(get(cell.getData())),
    });
    const number = (field, title, get, text, shown, meaning, less = true) => ({
      ...numeric, field, title, shown, meaning, number: get, text: (record) => text(get(record)), less,
      sorter: (a, b, first, second) => byNumber(get(first.getData()), get(second.getData())),
      formatter: (cell) => h("span", { title: value(get(cell.getData())) }, text(get(cell.getData()))),
    });
    return [
      { field: "defense", title: narrow ? "" : "Defense", name: "Defense", shown: true, ...(narrow ? { width: 34 } : { minWidth: 110 }),
        text: ({ row }) => row.site.title, formatter: (cell) => named(board, cell.getData()) },
      { field: "setting", title: "Setting", shown: true, ...(narrow ? { width: 118 } : { minWidth: 150 }),
        text: ({ row }) => row.site.point || "-",
        sorter: (a, b, first, second) => inOrder(first.getData().row.site.point, second.getData().row.site.point),
        formatter: (cell) => link(board, cell.getData()) },
      { field: "protocol", title: "Protocol", shown: several, text: ({ protocol }) => protocol },
      { field: "compare", title: "Compare", shown: !narrow, headerSort: false, meaning: "Choose two rows of a table to compare them",
        formatter: (cell) => picker(cell.getData().row) },
      accuracy("ca", "CA %", (record) => record.ca, true, "Clean accuracy with its 95 % interval"),
      accuracy("ra worst", "RA worst %", (record) => record.ra.worst, true, "Robust accuracy, image by image the worst of all attacks"),
      { field: "audit", title: "Audit", shown: rows.some((row) => row.site.audit), meaning: "What the audit's checks found, and the checks that found it",
        text: ({ row }) => row.site.audit?.badge ?? "-",
        sorter: (a, b, first, second) => inOrder(verdict(first.getData().row), verdict(second.getData().row)),
        formatter: (cell) => auditBadge(cell.getData().row) },
      accuracy("audited", "RA audited %", ({ row, protocol, reading }) => (protocol === row.protocol && reading === EXPECTED ? row.site.audit?.ra_worst : undefined),
        !narrow && rows.some((row) => row.site.audit), "Robust accuracy with the stronger attacks that the audit found, on its images"),
      ...attacks.map((name) => accuracy(`ra ${name}`, `RA ${name} %`, (record) => record.ra[name], !narrow && attacks.length <= 3,
        `Robust accuracy against ${name} with its 95 % interval`)),
      ...shifts.map((name) => accuracy(`shift ${name}`, `CA ${name} %`, ({ row, protocol, reading }) => (protocol === row.protocol && reading === EXPECTED ? row.shift?.[name] : undefined),
        !narrow && shifts.length <= 3, `Accuracy under the natural shift ${name}, without an attacker, with its 95 % interval`)),
      number("parameters", "Parameters", ({ row }) => row.parameters, short, !narrow),
      number("nonzero", "Non-zero", ({ row }) => row.nonzero_parameters, short, !narrow && sparse, "Parameters that are not zero"),
      number("macs", "MACs", (record) => record.macs, short, !narrow, "Multiply-accumulates of one answer: one forward pass, or those of a vote"),
      ...batches.map((batch, position) => number(`ms ${batch}`, `ms, batch ${batch}`, (record) => record.latency_ms[batch]?.median ?? null,
        (amount) => fixed(amount, 2), !narrow && position === 0, `Latency of one answer at batch ${batch}, median`)),
      number("train", "Train s/epoch", ({ row }) => row.train_seconds_per_epoch, (amount) => fixed(amount, 2), !narrow),
      number("n", "Images", ({ row }) => row.n, count, false, undefined, false),
      number("draws", "Draws", ({ row }) => row.draws, count, false, "Noise draws that each image is judged on", false),
      { field: "flags", title: "Flags", shown: !narrow && rows.some((row) => row.site.suspicions.length), meaning: "What makes a figure doubtful",
        text: ({ row }) => row.site.suspicions.join("; ") || "-",
        sorter: (a, b, first, second) => first.getData().row.site.suspicions.length - second.getData().row.site.suspicions.length,
        formatter: (cell) => flags(cell.getData().row) },
      { field: "dataset", title: "Dataset", shown: false, text: ({ dataset }) => dataset },
      { field: "architecture", title: "Architecture", shown: false, text: ({ architecture }) => architecture },
      ...extra.map((name) => ({ field: `extra ${name}`, title: name, shown: true, text: ({ row }) => value(row.extra[name]),
        formatter: (cell) => h("span", {}, value(cell.getData().row.extra[name])) })),
    ];
  };

  const named = (board, record) => h("span", { class: "named" }, swatch(board, record.row.defense), h("span", { class: "text" }, record.row.site.title));

  const link = (board, { row, reading }) =>
    h("span", { class: "setting" },
      h("a", { href: `#/${board.name}/${row.site.id}`, "aria-label": `Details of ${row.label}` }, row.site.point || "details"),
      row.stochastic && h("span", { class: "tag", title: "Randomised at this point" }, "random"),
      reading === EXPECTED && row.site.front && h("span", { class: "tag good", title: "No other row of this table is at least as good in both accuracies" }, "front"),
      reading === EXPECTED && row.site.knee && h("span", { class: "tag", title: "Farthest beyond the line between the ends of this defense's front" }, "knee"));

  const flags = (row) =>
    row.site.suspicions.length ? h("span", { class: "tag bad", title: row.site.suspicions.join("; ") }, `⚑ ${row.site.suspicions.length}`) : h("span", {}, "–");

  const verdict = (row) => row.site.audit?.badge ?? "–";

  const auditBadge = (row) => h("span", { class: row.site.audit?.grave ? "tag bad" : "" }, verdict(row));

  // One collator: `localeCompare` would make one for each of a thousand comparisons.
  const collator = new Intl.Collator("en", { numeric: true });
  const inOrder = (a, b) => collator.compare(String(a ?? ""), String(b ?? ""));

  /** A comparison of rows within their table; whichever way they are sorted, the tables keep their order. */
  const within = (board, compare) => {
    const position = new Map(board.headings.map((heading, i) => [heading, i]));
    return (a, b, first, second, column, direction) => {
      const between = position.get(first.getData().heading) - position.get(second.getData().heading);
      if (between) return direction === "asc" ? between : -between;
      return compare ? compare(a, b, first, second) : inOrder(a, b);
    };
  };

  /** The table in `place`; `sorted` says by which column at first, `{ column, dir }`. */
  const makeTable = (board, place, shownColumns, sorted) => {
    const data = records(board);
    const large = data.length > MOST_DRAWN;
    const table = new Tabulator(place, {
      data,
      index: "id",
      // What a column exports is not Tabulator's.
      columns: shownColumns.map(({ shown, meaning, name, figure, number, text, less, ...column }) => ({
        ...column, visible: shown, sorter: within(board, column.sorter),
        // An element, so that a label is not read as HTML; a button, so that the keyboard sorts too.
        titleFormatter: () => h("button", { type: "button", class: "sort", title: meaning, "aria-label": name }, column.title),
      })),
      initialSort: sorted ? [sorted] : [],
      nestedFieldSeparator: false,
      layout: "fitDataFill",
      // Every row is in the page, for screen readers, printing and the browser's own search, unless that would take seconds.
      ...(large ? { renderVertical: "virtual", height: "70vh" } : { renderVertical: "basic" }),
      groupBy: board.headings.length > 1 ? "heading" : false,
      groupHeader: (heading) => h("span", { role: "gridcell" }, heading),
      groupToggleElement: "header",
      headerSortTristate: true,
      placeholder: "No row matches these filters.",
      movableColumns: true,
    });
    // For screen readers the heading of a group is a row of one cell, and the table has no child that is neither.
    table.on("dataGrouped", (groups) => { for (const group of groups) group.getElement().setAttribute("role", "row"); });
    table.on("tableBuilt", () => place.querySelector(".tabulator-tableholder").removeAttribute("tabindex"));
    return table;
  };

  Object.assign(robuststack, { makeTable, columns, recordOf, records });
})();
