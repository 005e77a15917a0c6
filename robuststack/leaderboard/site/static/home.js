// The overview: every leaderboard with its plane in small.
"use strict";

(() => {
  const { h, swatch, plural, unique, thumbnail } = robuststack;

  const card = (board) => {
    return h("a", { class: "card", href: `#/${board.name}` },
      h("div", { class: "thumb" }, thumbnail(board)),
      h("div", { class: "words" },
        h("h2", {}, board.name), h("p", {}, board.description),
        h("p", { class: "facts" }, !board.complete && h("span", { class: "tag bad" }, "partial"),
          `${plural(board.rows.length, "row")} · drawn: ${board.headings[0] ?? "nothing"}`),
        h("p", { class: "legend" }, unique(board.rows.map((row) => row.defense)).map((one) => h("span", { class: "named" }, swatch(board, one), one)))));
  };

  const homePage = (boards, main) => {
    main.replaceChildren(
      h("div", { class: "title" }, h("h1", {}, "Robustness that is random, or tuned at deployment"),
        h("p", { class: "lead" }, "Clean against robust accuracy of image classifiers, trained and attacked for real. A tunable defense is one curve, one model for all its settings; every figure has an interval and a page that says how it was obtained.")),
      h("div", { class: "cards" }, boards.map(card)));
    return { redraw: () => {}, leave: () => {} };
  };

  Object.assign(robuststack, { homePage });
})();
