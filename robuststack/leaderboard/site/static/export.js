// The table as it is shown, for a spreadsheet or a paper: the same rows, columns and order, as CSV or LaTeX.
"use strict";

(() => {
  const { h, fixed, menu } = robuststack;

  const BETWEEN = " & ";
  const SIGNS = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--", "\u202f": "\\," };
  const escaped = (text) => text.replace(/[\\&%$#_{}~^–\u202f]/g, (sign) => SIGNS[sign] ?? `\\${sign}`);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const bare = (title) => title.replace(/ %$/, "");

  /** One line a row. A figure has three columns: its value and the limits of its interval. */
  const csv = (records, columns) => {
    const header = columns.flatMap((column) => { const title = bare(column.name ?? column.title); return column.figure ? [title, `${title} low`, `${title} high`] : [title]; });
    const cells = (record, column) => {
      if (column.figure) { const figure = column.figure(record); return [figure?.value, figure?.low, figure?.high]; }
      return [column.number ? column.number(record) : column.text(record)];
    };
    const lines = records.map((record) => [record.heading, ...columns.flatMap((column) => cells(record, column))]);
    return [["table", ...header], ...lines].map((line) => line.map((cell) => quoted(String(cell ?? ""))).join(",")).join("\n") + "\n";
  };

  const numberOf = (column) => (column.figure ? (record) => column.figure(record)?.value ?? null : column.less ? column.number : null);
  const printed = (column, record) => (column.figure ? fixed(column.figure(record)?.value) : column.text(record));

  /** What the best of a column prints as, null if nothing is better than anything else. Equal prints are equally good. */
  const bestOf = (records, column) => {
    const of = numberOf(column);
    const scored = of ? records.filter((record) => of(record) !== null) : [];
    if (scored.length < 2) return null;
    const sign = column.less ? -1 : 1;
    return printed(column, scored.reduce((best, record) => (sign * of(record) > sign * of(best) ? record : best)));
  };

  /** One `tabular` (booktabs) for each table, below its heading as a comment. */
  const latex = (records, columns, { bold, intervals }) => {
    const right = (column) => Boolean(column.figure || column.number);
    const tabular = ([heading, group]) => {
      const best = columns.map((column) => (bold ? bestOf(group, column) : null));
      const cell = (record) => (column, i) => {
        const text = printed(column, record);
        const figure = intervals && column.figure?.(record);
        const limits = figure && figure.low !== null ? ` [${fixed(figure.low)}, ${fixed(figure.high)}]` : "";
        return (best[i] !== null && text === best[i] ? `\\textbf{${escaped(text)}}` : escaped(text)) + limits;
      };
      const line = (cells) => `  ${cells.join(BETWEEN)} \\\\`;
      return [
        `% ${heading}`, `\\begin{tabular}{${columns.map((column) => (right(column) ? "r" : "l")).join("")}}`, "  \\toprule",
        line(columns.map((column) => escaped(column.name ?? column.title))), "  \\midrule", ...group.map((record) => line(columns.map(cell(record)))),
        "  \\bottomrule", "\\end{tabular}",
      ].join("\n");
    };
    return d3.groups(records, (record) => record.heading).map(tabular).join("\n\n") + "\n";
  };

  const download = (name, kind, text) => {
    const address = URL.createObjectURL(new Blob([text], { type: kind }));
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  /** The menu. What is shown is asked for when a button is pressed. */
  const exportMenu = (board, table, columns, status) => {
    const box = (label, checked) => { const input = h("input", { type: "checkbox", checked }); return [input, h("label", {}, input, label)]; };
    const [bold, boldLabel] = box("Best in bold (LaTeX)", true);
    const [intervals, intervalsLabel] = box("Intervals (LaTeX)", true);
    const shown = () => {
      const fields = table.getColumns().filter((column) => column.isVisible()).map((column) => column.getField());
      return [table.getRows("active").map((row) => row.getData()), fields.map((field) => columns.find((column) => column.field === field)).filter((column) => column.text || column.figure)];
    };
    const asLatex = () => latex(...shown(), { bold: bold.checked, intervals: intervals.checked });
    const button = (text, pressed) => h("button", { type: "button", class: "plain", onclick: async () => { status.textContent = await pressed(); } }, text);
    return menu("Export", h("div", { class: "single", role: "group", "aria-label": "Export the table as it is shown" }, boldLabel, intervalsLabel,
      button("Download CSV", () => { download(`${board.name}.csv`, "text/csv", csv(...shown())); return "CSV downloaded"; }),
      button("Download LaTeX", () => { download(`${board.name}.tex`, "application/x-tex", asLatex()); return "LaTeX downloaded"; }),
      button("Copy LaTeX", async () => {
        try { await navigator.clipboard.writeText(asLatex()); return "LaTeX copied"; } catch { return "The browser does not allow copying: download it instead"; }
      })));
  };

  Object.assign(robuststack, { exportMenu });
})();
