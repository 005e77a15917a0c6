// The overview: one ranked leaderboard for each data set and threat model over all suites, then every suite with its plane in small.
"use strict";

(() => {
  const { h, prose, fixed, short, swatch, plural, unique, thumbnail, figureElement, leaderboards, claimsOfAll, latencyOf, RANKINGS, choice, numberField, switches, readAddress, writeChoices } = robuststack;

  const MOST = 10;  // Shown of a leaderboard until all are asked for.

  const numeric = (text, otherwise) => (text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : otherwise);
  const numericText = (text) => (numeric(text, null) === null ? "" : text);

  const placeOf = (position, { first, last }) =>
    h("span", {}, h("b", {}, String(position + 1)), " ", last > first && h("span", { class: "interval", title: "The places that the 95 % intervals leave open" }, `${first}–${last}`));

  const suiteLinks = ({ board, also }) =>
    [board, ...also].map((suite, i) => [i > 0 && ", ", h("a", { href: `#/${suite.name}` }, suite.title)]);

  const settingLink = (board, row) => {
    const text = row.site.setting === "-" ? "details" : row.site.setting;
    return h("a", { href: `#/${board.name}/${row.site.id}`, "aria-label": `${text}: details of ${row.label}` }, text);
  };

  const auditText = (rows) => {
    const audits = rows.map((row) => row.site.audit).filter(Boolean);
    if (!audits.length) return "–";
    const grave = audits.filter((audit) => audit.grave);
    const badges = unique((grave.length ? grave : audits).map((audit) => audit.badge));
    return h("span", { class: grave.length ? "tag bad" : "tag" }, `${badges.join("; ")}${audits.length < rows.length ? `, ${audits.length} of ${rows.length} audited` : ""}`);
  };

  const defenseCell = ({ board, entry, rows }) =>
    h("span", { class: "named" }, swatch(board, entry.defense), h("span", {}, entry.title, " ",
      h("span", { class: "interval" }, entry.variant.slice(1).join(", ")), " ",
      rows.some((row) => row.stochastic) && h("span", { class: "tag wide", title: "At some settings two forward passes differ" }, "random"), " ",
      entry.models > 1 && h("span", { class: "tag wide", title: "One model for each setting" }, plural(entry.models, "model"))));

  /** The paired test between the settings of a defense and of the first; of one table only, since its rows share their images. */
  const againstFirst = (item, first) => {
    const [row, other] = [first.figure.best.row, item.figure.best.row];
    if (item === first || item.board !== first.board || row.site.heading !== other.site.heading) return null;
    return h("a", { class: "versus wide", href: `#/${item.board.name}/compare/${other.site.id}/${row.site.id}`, "aria-label": `vs first: ${other.label}` }, "vs first");
  };

  const HEADER = [["Place", ""], ["Defense, network", ""], ["", "right"], ["At the setting", ""], ["CA %", "right wide"], ["RA worst %", "right wide"], ["ms, batch 1", "right wide"], ["MACs", "right wide"], ["Audit", "wide"], ["Suite", "wide"]];

  const rankedRow = (ranking) => (item, position, items) => {
    const { board, rows, figure } = item;
    const { best } = figure;
    return [
      placeOf(position, item), defenseCell(item),
      h("span", ranking.volume ? { class: "meter", style: `--part:${figure.value}%` } : {}, figureElement(figure)),
      h("span", {}, settingLink(board, best.row), figure.counted < rows.length && h("span", { class: "interval" }, ` ${figure.counted} of ${rows.length} settings count`), " ", againstFirst(item, items[0])),
      fixed(best.ca.value), fixed(best.ra.value), fixed(latencyOf(best.row), 2), short(best.row.macs || null), auditText(rows), suiteLinks(item),
    ];
  };

  const table = (board, ranking, all, showAll) => {
    const shown = all ? board.ranked : board.ranked.slice(0, MOST);
    const header = HEADER.map(([text, kind], i) => h("th", { scope: "col", class: kind }, i === 2 ? `${ranking.label} %` : text));
    return [
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": board.heading },
        h("table", { class: "plain-table ranked" }, h("caption", { class: "hidden" }, `${board.heading}, the best first`), h("thead", {}, h("tr", {}, header)),
          h("tbody", {}, shown.map(rankedRow(ranking)).map((cells, position) => h("tr", {}, cells.map((cell, i) =>
            (i === 1 ? h("th", { scope: "row" }, cell) : h("td", { class: HEADER[i][1] }, cell)))))))),
      shown.length < board.ranked.length && h("p", {}, h("button", { type: "button", class: "plain", onclick: showAll }, `Show all ${board.ranked.length}`)),
    ];
  };

  const leftOut = ({ unranked }, ranking) => {
    if (!unranked.length) return null;
    const names = unranked.map(({ entry, board }) => `${entry.title} (${board.title})`);
    return h("details", { class: "note" }, h("summary", {}, `${plural(names.length, "defense")} without a place: ${ranking.key === "audited" ? "no setting that was audited and meets the limits" : "no setting meets the limits"}`), names.join(", "));
  };

  /** `tradeoff, Linf eps 0.1`, and below it the options of the data, if the heading has any. */
  const title = (heading) => {
    const [data, ...rest] = heading.split(", ");
    const [name, ...options] = data.split(" ");
    return [h("h2", {}, [name, ...rest].join(", ")), options.length > 0 && h("p", { class: "note" }, options.join(" "))];
  };

  const ranked = (board, ranking, all, showAll) =>
    h("section", { class: "leaderboard" }, ...title(board.heading),
      board.ranked.length ? table(board, ranking, all, showAll) : h("p", { class: "note" }, "No defense has a place."),
      board.cautions.length > 0 && h("p", { class: "note bad-note" }, h("b", {}, "Caution: "), board.cautions.join(" ")),
      leftOut(board, ranking));

  const explained = (ranking) => {
    const volume = "The hypervolume is the share of the plane of clean and robust accuracy that a defense's settings dominate together; 100 % is a defense that is always right, attacked or not. ";
    const what = {
      audited: `${volume}Only settings that the audit did not find broken count, each with the stronger attacks that the audit found; the upper limit has the broken ones too. Limits are the hypervolumes of all lower and of all upper limits. `,
      hypervolume: `${volume}Its 95 % interval is that of the suite; if settings are left out, the limits are the hypervolumes of all lower and of all upper limits. `,
      robust: "Robust accuracy is the worst of all attacks, image by image, at the most robust setting of a defense that meets the limits. The best of several settings is a little lucky. ",
    };
    return h("p", { class: "note" }, what[ranking.key], "Beside a place stand the places that the intervals leave open: two defenses whose places overlap cannot be told apart here. Compare two rows on the page of their suite.");
  };

  const card = (board) =>
    h("a", { class: "card", href: `#/${board.name}` },
      h("div", { class: "thumb" }, thumbnail(board)),
      h("div", { class: "words" },
        h("h3", {}, board.title), h("p", {}, prose(board.description)),
        h("p", { class: "facts" }, !board.complete && h("span", { class: "tag bad" }, "partial"), board.smoke && h("span", { class: "tag bad" }, "smoke: figures mean nothing"),
          `${plural(board.rows.length, "row")} · drawn: ${board.headings[0] ?? "nothing"}`),
        h("p", { class: "legend" }, unique(board.rows.map((row) => row.defense)).map((defense) => h("span", { class: "named" }, swatch(board, defense), defense)))));

  const homePage = (boards, main) => {
    const { choices } = readAddress();
    const byAudit = leaderboards(boards, "audited", {});
    const headings = unique(byAudit.map((board) => board.heading));
    const usual = byAudit.some((board) => board.ranked.length) ? "audited" : "hypervolume";
    const state = {
      rank: RANKINGS.some((ranking) => ranking.key === choices.get("rank")) ? choices.get("rank") : usual,
      data: headings.includes(choices.get("data")) ? choices.get("data") : "", ca: numericText(choices.get("ca")), ms: numericText(choices.get("ms")), macs: numericText(choices.get("macs")), all: choices.get("all") === "yes",
    };
    const place = h("div", {});
    const status = h("p", { class: "hidden", role: "status" });

    const draw = () => {
      const ranking = RANKINGS.find((candidate) => candidate.key === state.rank);
      const everything = leaderboards(boards, state.rank, { ca: numeric(state.ca, 0), ms: numeric(state.ms, Infinity), macs: 1e6 * numeric(state.macs, Infinity) });
      const shown = everything.filter((board) => !state.data || board.heading === state.data);
      place.replaceChildren(...shown.map((board) => ranked(board, ranking, state.all, () => set("all")(true))), explained(ranking));
      return shown;
    };
    let left = false;
    const set = (key) => (value) => {
      if (left) return;  // A field may report its change as it is removed.
      state[key] = value;
      const shown = draw();
      status.textContent = `${plural(d3.sum(shown, (board) => board.ranked.length), "defense")} ranked`;
      writeChoices({ rank: state.rank === usual ? "" : state.rank, data: state.data, ca: state.ca, ms: state.ms, macs: state.macs, all: state.all ? "yes" : "" });
    };
    const smoke = boards.filter((board) => board.smoke).length;
    const unranked = boards.filter((board) => board.unranked && !board.smoke).map((board) => board.title);
    main.replaceChildren(
      h("div", { class: "title" }, h("h1", {}, "Robustness that is random, or tuned at deployment"),
        h("p", { class: "lead" }, "Clean and robust accuracy of image classifiers, ranked over all suites. A tunable defense is ranked by all its settings together; every figure has an interval and a page that says how it was obtained.")),
      h("form", { class: "filters", "aria-label": "Ranking", onsubmit: (event) => event.preventDefault() },
        switches("Rank by", RANKINGS, state.rank, set("rank")),
        headings.length > 1 && choice("Data and threat model", ["", ...headings], ["all", ...headings], state.data, set("data")),
        numberField("Clean accuracy at least", state.ca, { unit: "%", min: 0, max: 100 }, set("ca")),
        numberField("Latency at most", state.ms, { unit: "ms", min: 0 }, set("ms")),
        numberField("MACs at most", state.macs, { unit: "million", min: 0 }, set("macs"))),
      status, place, claimsOfAll(boards),
      h("section", {}, h("h2", {}, "Suites"), smoke > 0 && h("p", { class: "note" }, `${plural(smoke, "smoke run")} not ranked above: their figures mean nothing.`),
        unranked.length > 0 && h("p", { class: "note" }, `Not ranked above, as their suites say (ranked: false): ${unranked.join("; ")}.`),
        h("div", { class: "cards" }, boards.map(card))));
    draw();
    return { redraw: () => {}, leave: () => { left = true; } };
  };

  Object.assign(robuststack, { homePage });
})();
