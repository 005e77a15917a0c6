// Two rows against each other: the paired differences that were computed when the page was built.
"use strict";

(() => {
  const { h, figureElement, plainTable, section, command, swatch, choice } = robuststack;
  robuststack.pairs = {};

  const address = (board, first, second) => `#/${board.name}/compare/${first.site.id}/${second.site.id}`;
  const neighbours = (board, row) => board.rows.filter((other) => other !== row && other.site.heading === row.site.heading);

  /** The pairs of a board, from a script beside the page: a page from disk may not fetch anything. */
  const load = (board) => new Promise((resolve) => {
    if (robuststack.pairs[board.name]) { resolve(robuststack.pairs[board.name]); return; }
    const script = h("script", { src: `site/data/${encodeURIComponent(board.name)}.pairs.js` });
    script.addEventListener("load", () => resolve(robuststack.pairs[board.name] ?? {}));
    script.addEventListener("error", () => resolve({}));
    document.head.append(script);
  });

  const named = (row) => `${row.site.title} ${row.site.point}`.trim();

  /** A choice of rows; choosing one opens its comparison. */
  const rowChoice = (label, rows, chosen, open) => {
    const addresses = rows.map((row) => row.site.id);
    const first = chosen ? [[], []] : [[""], ["choose a row"]];
    return choice(label, [...first[0], ...addresses], [...first[1], ...rows.map(named)], chosen?.site.id ?? "",
      (id) => { if (id) open(rows[addresses.indexOf(id)]); });
  };

  const comparedWith = (board, row) =>
    rowChoice("Compare with", neighbours(board, row), null, (other) => { location.hash = address(board, row, other); });

  /** A button for each row of the table: the first press chooses a row, the second opens both. */
  const makePicker = (board, status) => {
    let first = null;
    const buttons = new Map();
    const mark = () => { for (const [row, button] of buttons) button.setAttribute("aria-pressed", String(row === first)); };
    const pick = (row) => {
      if (first && first !== row && first.site.heading === row.site.heading) {
        location.hash = address(board, first, row);
        return;
      }
      first = first === row ? null : row;
      mark();
      status.textContent = first ? `${first.label} is chosen. Choose a second row of the same table.` : "No row is chosen.";
    };
    return (row) => {
      const button = h("button", { type: "button", class: "pick", "aria-pressed": String(row === first), "aria-label": `vs ${row.label}`,
        title: "Choose two rows to compare them", onclick: () => pick(row) }, "vs");
      buttons.set(row, button);
      return button;
    };
  };

  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(1)}`;
  const interval = ([value, low, high]) => h("span", { class: "figure" }, h("b", {}, signed(value)), " ", h("span", { class: "interval" }, `[${signed(low)}, ${signed(high)}]`));
  const turned = ([value, low, high, p, verdict]) => [-value, -high, -low, p, { better: "worse", worse: "better" }[verdict] ?? verdict];
  const tone = { better: "tag good", worse: "tag bad" };

  /** A row's figure; with several seeds, that of each pair of seeds stands behind it too. */
  const standing = (row, name) => {
    const figure = name === "ca" ? row.ca : row.shift?.[name] ?? row.ra[name];
    const seeds = Object.values(figure?.seeds ?? {});
    return h("span", {}, figureElement(figure), seeds.length > 1 && h("span", { class: "interval" }, ` seeds ${seeds.map((seed) => seed.toFixed(1)).join(", ")}`));
  };

  const verdicts = (first, second, { figures, about, differences }) => {
    const decisive = differences.at(-1);
    const name = (figure) => (figure === "ca" ? "CA" : `${first.shift?.[figure] ? "CA" : "RA"} ${figure}`);
    return [
      h("p", { class: "lead", role: "status" }, `${name(figures.at(-1))}: `, h("b", {}, decisive[4] === "undecided" ? "undecided" : `the first row is ${decisive[4]} than the second`),
        `. Difference ${signed(decisive[0])} points, 95 % interval ${signed(decisive[1])} to ${signed(decisive[2])}.`),
      plainTable("Differences", ["Figure", "First %", "Second %", "First − second", "p", "The first is"], figures.map((figure, i) => [
        name(figure), standing(first, figure), standing(second, figure), interval(differences[i]), String(differences[i][3]),
        h("span", { class: tone[differences[i][4]] ?? "tag" }, differences[i][4])]), [1, 2, 3, 4]),
      h("p", { class: "note" }, `The verdicts are about ${about === "methods" ? "the methods: training seeds are the unit" : `${about}: another training seed of either may turn them around`}. `,
        `Images are paired. p is corrected for the ${figures.length} figures of this pair (Holm); whoever looks through many pairs finds some by luck.`),
    ];
  };

  const comparePage = (board, first, second, main) => {
    const place = h("div", {}, h("p", { class: "note" }, "Loading…"));
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const open = (row, other) => { location.hash = address(board, row, other); };
    main.replaceChildren(
      h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "Leaderboards"), " / ", h("a", { href: `#/${board.name}` }, board.title)),
      h("div", { class: "title" }, h("h1", {}, "Two rows compared"), h("p", { class: "facts" }, first.site.heading)),
      h("div", { class: "filters" },
        rowChoice("First row", neighbours(board, second), first, (row) => open(row, second)),
        rowChoice("Second row", neighbours(board, first), second, (row) => open(first, row)),
        h("button", { type: "button", class: "plain", onclick: () => open(second, first) }, "Swap")),
      h("p", { class: "facts" }, [first, second].map((row) => h("a", { class: "named", href: `#/${board.name}/${row.site.id}` }, swatch(board, row.defense), named(row)))),
      place,
      section("Compare them again", command(`${board.comparing} --rows ${quoted(first.label)} ${quoted(second.label)}`),
        h("p", { class: "note" }, "The command also prints robust accuracy at equal clean accuracy and the difference of both defenses' hypervolumes.")));
    load(board).then((pairs) => {
      const [a, b] = [first, second].map((row) => board.rows.indexOf(row));
      const pair = pairs[`${Math.min(a, b)} ${Math.max(a, b)}`];
      const shown = pair && (a < b ? pair : { ...pair, differences: pair.differences.map(turned) });
      place.replaceChildren(...(shown ? verdicts(first, second, shown) : [h("p", { class: "note" }, "This pair was not compared when the page was built: the labels beside the leaderboard are missing, or its table has too many rows. The command below compares it.")]));
      main.dataset.compared = location.hash;
    });
    return { redraw: () => {}, leave: () => {} };
  };

  Object.assign(robuststack, { comparePage, comparedWith, makePicker });
})();
