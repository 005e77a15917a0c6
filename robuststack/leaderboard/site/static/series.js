// A defense's colour and symbol, the same in every chart and table; and the curves a tunable defense draws.
"use strict";

(() => {
  const { h, unique } = robuststack;
  const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross", "hexagon", "times", "asterisk"];
  const DASHES = [null, "6 4", "2 3", "9 3 2 3"];
  const COLOURS = 10;

  const place = (board, defense) => Math.max(0, board.colours.indexOf(defense));
  /** A CSS variable, so that a chart follows the theme without being drawn again. */
  const colour = (board, defense) => `var(--c${place(board, defense) % COLOURS})`;
  const symbol = (board, defense) => SYMBOLS[place(board, defense) % SYMBOLS.length];

  /** A small drawing of the defense's symbol in its colour. */
  const swatch = (board, defense) => {
    const svg = d3.create("svg").attr("class", "swatch").attr("viewBox", "-8 -8 16 16").attr("aria-hidden", "true");
    const type = d3[`symbol${symbol(board, defense).replace(/^./, (one) => one.toUpperCase())}`] ?? d3.symbolCircle;
    const stroked = ["times", "asterisk"].includes(symbol(board, defense));
    const path = svg.append("path").attr("d", d3.symbol(type, 90)());
    if (stroked) path.attr("fill", "none").style("stroke", colour(board, defense)).attr("stroke-width", 2);
    else path.style("fill", colour(board, defense));
    return svg.node();
  };

  /**
   * The curves of an entry: rows in the order of its main knob (the one with most settings), one curve for each
   * combination of the other knobs. A defense that is trained for each setting has none.
   */
  const entryCurves = (rows) => {
    const tuned = rows.filter((row) => row.site.tuned);
    const knobs = unique(tuned.flatMap((row) => Object.keys(row.point)));
    const settings = (knob) => unique(tuned.map((row) => JSON.stringify(row.point[knob]))).length;
    const main = knobs.sort((a, b) => settings(b) - settings(a))[0];
    const groups = d3.groups(tuned, (row) => JSON.stringify({ ...row.point, [main]: null }));
    return groups.map(([, group]) => {
      const others = Object.keys(group[0].point).filter((knob) => knob !== main && settings(knob) > 1);
      const apart = others.map((knob) => group[0].site.knobs[knob].pair);
      return { title: [group[0].site.entryTitle, ...apart].join(" "), defense: group[0].defense, rows: d3.sort(group, (row) => row.point[main]) };
    });
  };

  /** The curves of a panel's rows; those of one defense have its colour and differ in their dashes. */
  const curves = (rows) => {
    const found = d3.groups(rows, (row) => row.site.entry).flatMap(([, group]) => entryCurves(group));
    const drawn = new Map();
    return found.map((one) => {
      const before = drawn.get(one.defense) ?? 0;
      drawn.set(one.defense, before + 1);
      return { ...one, dash: DASHES[before % DASHES.length] };
    });
  };

  /** Which dashes are which curve; only of defenses that have several. */
  const curveKey = (board, found) => {
    const several = found.filter((one) => found.filter((other) => other.defense === one.defense).length > 1);
    if (!several.length) return null;
    return h("div", { class: "curves" }, several.map((one) => {
      const svg = d3.create("svg").attr("viewBox", "0 0 30 8").attr("aria-hidden", "true");
      svg.append("line").attr("x2", 30).attr("y1", 4).attr("y2", 4).attr("stroke-width", 2).attr("stroke-dasharray", one.dash).style("stroke", colour(board, one.defense));
      return h("span", { class: "named" }, svg.node(), one.title);
    }));
  };

  Object.assign(robuststack, { colour, symbol, swatch, curves, curveKey });
})();
