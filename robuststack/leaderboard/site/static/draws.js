// How the draws that a row's attacks average over were chosen: the probe's robust accuracy over draws and passes.
"use strict";

(() => {
  const { accessible, h, figure, fixed, plainTable, section, colour } = robuststack;

  const curve = (board, row, points, width) => {
    const svg = Plot.plot({
      width, height: 250, marginLeft: 46, marginBottom: 42, style: { fontSize: "12px", fontFamily: "inherit", background: "none", overflow: "visible" },
      x: { type: "log", base: 2, label: "draws; the filled mark was chosen", tickFormat: "d", ticks: [...new Set(points.map((one) => one.draws))] }, y: { label: null, grid: true, ticks: 5 },
      color: { type: "identity" }, ariaLabel: `Robust accuracy of the probe over draws, ${row.site.title}`,
      ariaDescription: points.map((one) => `${one.name}, ${one.draws} draws: ${figure({ ...one, value: one.accuracy })}`).join("; "),
      marks: [Plot.ruleX(points, { x: "draws", y1: "low", y2: "high", stroke: colour(board, row.defense), strokeOpacity: 0.3 }),
              Plot.line(points, { x: "draws", y: "accuracy", z: "name", stroke: colour(board, row.defense), strokeWidth: 1.75 }),
              Plot.dot(points, { x: "draws", y: "accuracy", r: 5, stroke: colour(board, row.defense), fill: (one) => (one.chosen ? colour(board, row.defense) : "var(--panel)"), title: (one) => `${one.name}, ${one.draws} draws` })],
    });
    accessible(svg, "img");
    return h("figure", { class: "panel" }, h("figcaption", {}, "Robust accuracy of the probe (%)"), svg);
  };

  /** Every choice of a row: its attack, protocol and seeds. */
  const choices = (row) =>
    [[row.protocol, row], ...Object.entries(row.protocols)].flatMap(([protocol, scores]) => Object.entries(scores.draws_chosen ?? {}).flatMap(([attack, of]) =>
      Object.entries(of).map(([seeds, choice]) => ({ ...choice, name: `${attack}${protocol === row.protocol ? "" : ` (${protocol})`}, seeds ${seeds}` }))));

  const drawsOf = (board, row, width) => {
    const found = choices(row);
    if (!found.length) return "";
    const points = found.flatMap((one) => one.curve.map((point) => ({ ...point, name: one.name, chosen: point.draws === one.draws })));
    return section("Draws of the attacks", h("div", { class: "charts draws" }, curve(board, row, points, width), h("div", { class: "panel" },
      plainTable("Draws that were chosen", ["Attack", "Draws", "RA of the probe %", "Passes an image"],
        points.map((one) => [one.name, `${one.draws}${one.chosen ? ", chosen" : ""}`, figure({ ...one, value: one.accuracy }), fixed(one.passes, 0)]), [2, 3]),
      h("p", { class: "note" }, found.map((one) => `${one.name}: ${one.draws} draws${one.cap_reached ? ", cap reached" : ""}, on ${one.n} images.`).join(" ")))));
  };

  Object.assign(robuststack, { drawsOf });
})();
