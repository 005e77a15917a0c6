// Games: what each way of crafting images leaves of each setting, as a heat map, and what hiding the setting is worth.
"use strict";

(() => {
  const { accessible, h, fixed, figureElement, plural, plainTable, section } = robuststack;

  const heatMap = (game, width) => {
    const names = [...game.craftings.map((one) => `${one.attack} on ${one.against}`), "the worst for each image"];
    const values = [...game.craftings.map((one) => one.accuracy), game.settings.map((one) => one.known)];
    const cells = values.flatMap((row, i) => row.map((accuracy, j) => ({ crafted: names[i], setting: game.settings[j].name, accuracy })));
    const svg = Plot.plot({
      width, height: 74 + 27 * names.length, marginLeft: Math.min(230, width / 2), marginBottom: 54, marginTop: 8,
      style: { fontSize: "12px", fontFamily: "inherit", background: "none", overflow: "visible" },
      x: { domain: game.settings.map((one) => one.name), label: "The model runs at", tickRotate: game.settings.length > 4 || game.settings.some((one) => one.name.length > 12) ? -15 : 0, tickSize: 0 },
      y: { domain: names, label: null, tickSize: 0 },
      color: { type: "linear", domain: [0, 100], range: ["#ffffff", "#7fb2e6"] },
      ariaLabel: `Robust accuracy of ${game.title}: images crafted in each way, against each setting`,
      ariaDescription: cells.map((one) => `${one.crafted}, against ${one.setting}: ${fixed(one.accuracy)} %`).join("; "),
      marks: [
        Plot.cell(cells, { x: "setting", y: "crafted", fill: "accuracy", inset: 1, rx: 3, title: (one) => `${one.crafted}, against ${one.setting}: ${fixed(one.accuracy)} %` }),
        Plot.text(cells, { x: "setting", y: "crafted", text: (one) => fixed(one.accuracy), fill: "#16191d", ariaHidden: "true" }),
      ],
    });
    accessible(svg, "img");
    return h("figure", { class: "panel" }, h("figcaption", {}, `${game.title}, ${game.heading}`), svg);
  };

  const rounds = (game) => {
    const path = game.values.map((one) => fixed(one)).join(" → ");
    const said = game.upper_bound ? "Another round could still lower it, so it is an upper bound." : "Another round would lower it by less than half a point.";
    return `Rounds of attacks on the mixture: ${game.values.length - 1} (${path} %). ${said}`;
  };

  const gamesOf = (board, width) => {
    const games = board.games ?? [];
    if (!games.length) return "";
    return section("The knob as a game", h("p", { class: "note" },
      "A row is a way of crafting images, a column the setting that then runs; figures are robust accuracy in percent. An attacker who does not see the setting ",
      "picks a way of crafting for each image, the defender a mixture of settings, chosen on one half of the images and scored on the other."),
      games.map((game) => h("div", { class: "charts game" }, heatMap(game, width), h("div", { class: "panel" },
        plainTable(`Worth of hiding the knob of ${game.title}`, ["Attacker", "Robust accuracy %"], [
          ["does not see the setting", h("span", {}, game.upper_bound && "at most ", figureElement(game.hidden))], ["sees the setting", figureElement(game.seen)],
          ["the value of hiding it, in points", figureElement(game.hiding)], ["does not see it, one way of crafting for all images", figureElement(game.one_for_all)]], [1]),
        h("p", { class: "note" }, `Best mixture: ${game.mixture}${game.least_clean === null ? "" : `, with a clean accuracy of at least ${game.least_clean} %`}. ${rounds(game)}`),
        h("p", { class: "note" }, plural(Object.keys(game.jobs).length, "model"), ": ", Object.values(game.jobs).join(", "), ".")))));
  };

  Object.assign(robuststack, { gamesOf });
})();
