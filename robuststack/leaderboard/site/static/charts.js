// The planes: robust accuracy over clean accuracy or over what a row costs, one panel for each table.
"use strict";

(() => {
  const { accessible, h, fixed, short, figure, colour, symbol, curves, curveKey, plural, scoresOf, EXPECTED } = robuststack;

  /** What lies on the horizontal axis; `of` is null where a row has no such number. */
  const axes = (board) => {
    const batches = [...new Set(board.rows.flatMap((row) => Object.keys(row.latency_ms)))];
    return [
      { key: "ca", label: "Clean accuracy", axis: "Clean accuracy (%)", of: (row, p) => p.ca.value, span: (row, p) => p.ca, text: fixed },
      ...batches.map((batch) => ({
        key: `latency-${batch}`, label: `Latency, batch ${batch}`, axis: `Latency at batch ${batch} (ms)`,
        of: (row, p) => p.latency_ms[batch]?.median ?? null, span: (row, p) => p.latency_ms[batch],
        text: (one) => `${fixed(one, 2)} ms`, fromZero: true,
      })),
      { key: "macs", label: "MACs", axis: "Multiply-accumulates", of: (row, p) => p.macs, text: short, fromZero: true },
      { key: "parameters", label: "Parameters", axis: "Parameters", of: (row) => row.parameters, text: short, fromZero: true },
      { key: "train", label: "Training", axis: "Training (s / epoch)", of: (row) => row.train_seconds_per_epoch,
        text: (one) => `${fixed(one, 2)} s`, fromZero: true },
    ];
  };

  /** A record for each row that has the two accuracies: what is drawn, and what is said of it. */
  const points = (board, rows, x, attack, protocol, reading) =>
    rows.flatMap((row) => {
      const scores = scoresOf(row, protocol, reading);
      const headline = reading === EXPECTED && protocol === row.protocol;
      const ra = scores?.ra[attack];
      const across = scores ? x.of(row, scores) : null;
      if (!ra || across === null) return [];
      const span = x.span?.(row, scores);
      const said = [
        `${row.site.title} ${row.site.point}`.trim(),
        `${x.key === "ca" ? "CA" : x.label} ${x.key === "ca" ? figure(scores.ca) : x.text(across)}`,
        `RA ${attack} ${figure(ra)}`,
        headline && row.site.front && x.key === "ca" ? "on the Pareto front" : headline && row.site.dominated ? "dominated by another setting of this defense" : null,
      ].filter(Boolean);
      return [{ row, ca: scores.ca.value, x: across, y: ra.value, low: ra.low ?? ra.value, high: ra.high ?? ra.value, left: span?.low ?? across, right: span?.high ?? across,
                text: said.join("\n"), href: `#/${board.name}/${row.site.id}` }];
    });

  /** The points that no other beats in both, as a staircase from the most accurate to the most robust. */
  const staircase = (found) => {
    const front = [];
    let best = -1;
    for (const one of d3.sort(found, (a, b) => b.x - a.x || b.y - a.y)) if (one.y > best) { front.push(one); best = one.y; }
    return front;
  };

  /** Names of settings beside their points, those left out that would lie on another one. */
  const names = (found, domain, width, height) => {
    const [[x0, x1], [y0, y1]] = domain;
    const placed = [];
    return found.filter((one) => {
      const at = [(one.x - x0) / (x1 - x0) * width, (one.y - y0) / (y1 - y0) * height];
      if (placed.some(([a, b]) => Math.abs(a - at[0]) < 34 && Math.abs(b - at[1]) < 15)) return false;
      placed.push(at);
      return true;
    });
  };

  const domainOf = (values, { fromZero, bounded }) => {
    let [low, high] = d3.extent(values);
    const pad = Math.max((high - low) * 0.08, high * 0.005, 0.01);
    low = fromZero ? 0 : low - pad;
    high += pad;
    return bounded ? [Math.max(low, -2), Math.min(high, 102)] : [low, high];
  };

  /** One panel: intervals, curves, marks, front, names, and a tip that follows the pointer. Null where nothing is to be drawn. */
  const plane = (board, heading, rows, x, attack, protocol, reading, width) => {
    const found = points(board, rows, x, attack, protocol, reading);
    if (!found.length) return null;
    const of = new Map(found.map((one) => [one.row, one]));
    const lines = curves(found.map((one) => one.row)).map((one) => ({ ...one, shown: one.rows.map((row) => of.get(row)) }));
    const main = (row) => Object.keys(row.point).find((knob) => typeof row.point[knob] === "number");
    const height = Math.max(260, Math.min(400, width * 0.72));
    const domain = [
      domainOf(found.flatMap((one) => [one.left, one.x, one.right]), { fromZero: x.fromZero, bounded: x.key === "ca" }),
      domainOf(found.flatMap((one) => [one.low, one.high]), { bounded: true }),
    ];
    const ink = (one) => colour(board, one.row.defense);
    const front = x.key === "ca" ? staircase(found) : [];
    const svg = Plot.plot({
      width, height, marginLeft: 46, marginBottom: 42, marginTop: 24, marginRight: 18,
      style: { fontSize: "12px", fontFamily: "inherit", background: "none", overflow: "visible" },
      x: { domain: domain[0], label: x.axis, labelAnchor: "center", labelArrow: "none", ticks: width < 420 ? 4 : 6, grid: true,
           tickFormat: ["macs", "parameters"].includes(x.key) ? short : undefined },
      y: { domain: domain[1], label: `Robust accuracy, ${attack === "worst" ? "worst case" : attack} (%)`, labelAnchor: "top",
           labelArrow: "none", ticks: 6, grid: true },
      color: { type: "identity" }, symbol: { type: "identity" },
      ariaLabel: `Robust accuracy over ${x.axis.toLowerCase()}, ${heading}`,
      ariaDescription: `${plural(found.length, "point")}; the table below has the same figures.`,
      marks: [
        front.length > 1 ? Plot.line(front, { x: "x", y: "y", curve: "step-after", stroke: "var(--front)", strokeWidth: 6,
                                               strokeLinejoin: "miter", className: "front" }) : null,
        Plot.ruleX(found, { x: "x", y1: "low", y2: "high", stroke: ink, strokeOpacity: 0.38, strokeWidth: 1.25 }),
        Plot.ruleY(found.filter((one) => one.right > one.left), { y: "y", x1: "left", x2: "right", stroke: ink, strokeOpacity: 0.38, strokeWidth: 1.25 }),
        ...lines.map((one) => Plot.line(one.shown, { x: "x", y: "y", stroke: ink, strokeWidth: 2, strokeDasharray: one.dash })),
        Plot.dot(found, { x: "x", y: "y", r: 5, symbol: (one) => symbol(board, one.row.defense), stroke: ink, strokeWidth: 1.75,
                          fill: (one) => (one.row.site.tuned ? ink(one) : "var(--panel)"), href: "href", ariaLabel: "text" }),
        Plot.text(names(found.filter((one) => main(one.row)), domain, width - 64, height - 66), {
          x: "x", y: "y", text: (one) => one.row.site.knobs[main(one.row)].value, dx: 8, dy: -8, textAnchor: "start", fontSize: 11,
          fill: ink, stroke: "var(--panel)", strokeWidth: 4, ariaHidden: "true" }),
        Plot.tip(found, Plot.pointer({ x: "x", y: "y", title: "text", fill: "var(--raised)", stroke: "var(--line)", textPadding: 10, lineHeight: 1.3 })),
      ],
    });
    accessible(svg, "group");
    return h("figure", { class: "panel plane" }, h("figcaption", {}, heading), svg, curveKey(board, lines), h("p", { class: "hidden" }, summary(found, x, attack)));
  };

  /** The chart in a sentence. */
  const summary = (found, x, attack) => {
    const best = d3.greatest(found, (one) => one.y);
    const accurate = d3.greatest(found, (one) => one.ca);
    return `Most robust against ${attack}: ${best.text.replaceAll("\n", ", ")}. Most accurate: ${accurate.text.replaceAll("\n", ", ")}.`;
  };

  /** A small plane with its axes and without words beside its points, for the overview. */
  const thumbnail = (board) => {
    const heading = board.headings[0];
    const rows = board.rows.filter((row) => row.site.heading === heading);
    const ink = (row) => colour(board, row.defense);
    const [x, y] = [(row) => row.ca.value, (row) => row.ra.worst.value];
    const svg = Plot.plot({
      width: 300, height: 190, marginLeft: 34, marginBottom: 34, marginTop: 22, marginRight: 12, style: { background: "none", fontSize: "11px", fontFamily: "inherit", overflow: "visible" },
      x: { domain: domainOf(rows.map(x), { bounded: true }), label: "Clean accuracy (%)", labelAnchor: "center", labelArrow: "none", ticks: 4, grid: true },
      y: { domain: domainOf(rows.map(y), { bounded: true }), label: "Robust accuracy, worst case (%)", labelArrow: "none", labelAnchor: "top", ticks: 4, grid: true },
      color: { type: "identity" }, symbol: { type: "identity" },
      marks: [
        ...curves(rows).map((curve) => Plot.line(curve.rows, { x, y, stroke: ink, strokeWidth: 1.75, strokeDasharray: curve.dash })),
        Plot.dot(rows, { x, y, r: 3.2, symbol: (row) => symbol(board, row.defense), stroke: ink, fill: (row) => (row.site.tuned ? ink(row) : "var(--panel)") }),
      ],
    });
    svg.setAttribute("aria-hidden", "true");
    return svg;
  };

  Object.assign(robuststack, { axes, plane, thumbnail });
})();
