// The page of a row: its figures, how they were obtained, what is doubtful about them, and how to get them again.
"use strict";

(() => {
  const { accessible, h, fixed, count, figure, figureElement, value, section, plainTable, command, colour, swatch, unique, scoresOf, protocolsOf, readingsOf, EXPECTED } = robuststack;

  /** A list of names and values. */
  const listed = (pairs) =>
    h("dl", { class: "facts-list" }, Object.entries(pairs).map(([key, one]) => h("div", {}, h("dt", {}, key), h("dd", {}, typeof one === "string" || one instanceof Node ? one : value(one)))));

  const chart = (caption, width, settings) => {
    const svg = Plot.plot({ width, style: { fontSize: "12px", fontFamily: "inherit", background: "none", overflow: "visible" }, color: { type: "identity" },
                            ariaLabel: caption, ...settings });
    accessible(svg, "img");
    return h("figure", { class: "panel" }, h("figcaption", {}, caption), svg);
  };

  /** Every accuracy of the row on one scale, with its interval. */
  const accuracies = (board, row, width) => {
    const figures = [["clean", row.ca], ...board.attacks.map(({ label }) => [label, row.ra[label]]), ["worst", row.ra.worst], ...Object.entries(row.shift ?? {})].filter(([, accuracy]) => accuracy);
    const shown = figures.map(([name, accuracy]) => ({ name, ...accuracy }));
    const ink = colour(board, row.defense);
    return chart(`Accuracy, clean and under each attack${Object.keys(row.shift ?? {}).length ? " or natural shift" : ""} (%)`, width, {
      height: 50 + 30 * shown.length, marginLeft: 110, marginRight: 30, marginBottom: 30,
      x: { domain: [0, 100], label: null, grid: true, ticks: 5 }, y: { domain: shown.map(({ name }) => name), label: null, tickSize: 0 },
      marks: [Plot.ruleY(shown, { y: "name", x1: "low", x2: "high", stroke: ink, strokeWidth: 3, strokeOpacity: 0.4 }),
              Plot.dot(shown, { x: "value", y: "name", r: 5, fill: ink, title: figure })],
      ariaDescription: figures.map(([name, accuracy]) => `${name} ${figure(accuracy)}`).join("; "),
    });
  };

  const scores = (board, row) => {
    const protocols = protocolsOf(row).flatMap((protocol) => readingsOf(board).map((reading) =>
      [[protocol, reading !== EXPECTED && reading].filter(Boolean).join(", "), scoresOf(row, protocol, reading)])).filter(([, read]) => read);
    const attacks = [...board.attacks.map((attack) => attack.label), "worst"];
    return plainTable("Accuracy by protocol and reading", ["Accuracy", ...protocols.map(([name]) => name)],
      [["clean", ...protocols.map(([, read]) => figureElement(read.ca))],
       ...attacks.map((name) => [`RA ${name}`, ...protocols.map(([, read]) => figureElement(read.ra[name]))]),
       ...Object.entries(row.shift ?? {}).map(([name, accuracy]) => [`CA ${name}`, ...protocols.map((_, i) => figureElement(i ? null : accuracy))])], protocols.map((_, i) => i + 1));
  };

  /** Robust accuracy by what the attacker knows, and what each piece of knowledge is worth. Null without a ladder. */
  const ladder = (board, row, width) => {
    const scored = { [row.protocol]: row, ...row.protocols };
    const shown = board.rungs.filter((name) => scored[name]).map((name) => ({ name, ...scored[name].ra.worst }));
    const missing = Object.entries(row.inapplicable).map(([rung, reason]) => h("p", { class: "note" }, `${rung} does not apply: ${reason}.`));
    if (!shown.some((one) => one.name !== "adaptive")) return missing.length ? missing : null;
    const ink = colour(board, row.defense);
    return [
      h("div", { class: "charts" },
        chart("Robust accuracy, worst case, by what the attacker knows (%)", width, {
          height: 50 + 34 * shown.length, marginLeft: 110, marginRight: 30, marginBottom: 30,
          x: { domain: [0, 100], label: null, grid: true, ticks: 5 }, y: { domain: shown.map((one) => one.name), label: null, tickSize: 0 },
          marks: [Plot.barX(shown, { x: "value", y: "name", fill: ink, fillOpacity: 0.55, insetTop: 5, insetBottom: 5, title: (one) => `${one.name} ${figure(one)}` }),
                  Plot.ruleY(shown, { y: "name", x1: "low", x2: "high", stroke: ink, strokeWidth: 3 })],
          ariaDescription: shown.map((one) => `${one.name} ${figure(one)}`).join("; "),
        }),
        h("div", { class: "panel" }, plainTable("Gaps between the rungs", ["Gap", "Points", "95 %"],
          board.rungs.filter((rung) => row.gaps[rung]).map((rung) => [`adaptive minus ${rung}`, fixed(row.gaps[rung].value), `${fixed(row.gaps[rung].low)} to ${fixed(row.gaps[rung].high)}`]), [1, 2]))),
      h("p", { class: "note" }, "off: the noise is off; surrogate: frozen draws of the attacker's own; adaptive: the distribution; frozen_known: the very draw that is deployed. adaptive minus frozen_known is what the secrecy of the draw is worth. If adaptive lies above off or surrogate, the adaptive attack is too weak."),
      ...missing,
    ];
  };

  const seeds = (board, row) => {
    const figures = [["CA", row.ca], ...board.attacks.map((one) => [`RA ${one.label}`, row.ra[one.label]]), ["RA worst", row.ra.worst]].filter(([, one]) => one?.seeds);
    const head = listed({ "training seeds": row.seeds.train.join(", "), "attack seeds": row.seeds.attack.join(", "), images: count(row.n),
      "noise draws that an image is judged on": String(row.draws), intervals: unique([row.ca, ...Object.values(row.ra)].map((one) => one.interval)).join(" and ") + ", 95 %" });
    if (!figures.length) return [head, h("p", { class: "note" }, "One training seed and one attack seed: there is no spread over seeds to show.")];
    const pairs = unique(figures.flatMap(([, one]) => Object.keys(one.seeds)));
    return [head, plainTable("Accuracy of each pair of seeds", ["Figure", ...pairs.map((one) => `seeds ${one}`), "Mean", "Lowest", "Highest", "Spread"],
      figures.map(([name, one]) => [name, ...pairs.map((pair) => fixed(one.seeds[pair])), fixed(one.value), fixed(one.lowest), fixed(one.highest), fixed(one.spread, 2)]), [...pairs, 0, 0, 0, 0].map((_, i) => i + 1)),
      h("p", { class: "note" }, "Seeds are written training/attack; lowest, highest and spread (the standard deviation) are over training seeds, each the mean of its attack seeds, or over attack seeds if there is one training seed.")];
  };

  /** Where the variance of clean accuracy and of the worst case comes from. */
  const sources = (row, width) => {
    const parts = Object.entries(row.variance ?? {}).flatMap(([figure, found]) => ["training seed", "attack seed", "inference draw", "test images"].map((name) =>
      ({ name, figure: figure === "ca" ? "clean" : "worst case", ...found[name] })));
    if (!parts.length) return "";
    const text = (one) => (one.sd === null ? "not separable" : `${fixed(one.sd, 2)} [${fixed(one.low, 2)}, ${fixed(one.high, 2)}]`);
    const names = unique(parts.map((one) => one.name));
    const seen = parts.filter((one) => one.sd !== null);
    return [
      chart("Where the variance of the worst case comes from (standard deviation, points)", width, {
        height: 50 + 30 * names.length, marginLeft: 110, marginRight: 30, marginBottom: 30,
        x: { zero: true, label: null, grid: true, ticks: 5 }, y: { domain: names, label: null, tickSize: 0 },
        marks: [Plot.ruleY(seen.filter((one) => one.figure === "worst case"), { y: "name", x1: "low", x2: "high", strokeWidth: 3, strokeOpacity: 0.4 }),
                Plot.dot(seen.filter((one) => one.figure === "worst case"), { x: "sd", y: "name", r: 5, fill: "currentColor", title: text })],
      }),
      plainTable("Where the variance comes from", ["Source", "Clean, points", "Worst case, points"],
        names.map((name) => [name, ...["clean", "worst case"].map((figure) => text(parts.find((one) => one.name === name && one.figure === figure)))]), [1, 2]),
      h("p", { class: "note" }, "How far the figure would move if that one thing were drawn again, once: the largest says what to buy, seeds, draws or images. With one seed its part is not separable from the others."),
    ];
  };

  const PANELS = ["loss", "seen", "validation_ra"];  // The file sorts its keys.
  const TRAINING = { loss: "Training loss", validation_ra: "Robust accuracy on the validation split (%)" };

  const training = (board, row, width) => {
    const jobs = Object.entries(row.jobs.train);
    if (!jobs.length) return h("p", { class: "note" }, "This model was not trained here.");
    const found = jobs.flatMap(([seed, job]) => Object.entries(board.training?.[job]?.metrics ?? {}).flatMap(([metric, values]) =>
      values.map((one, i) => ({ seed, metric, epoch: i + 1, value: one }))));
    if (!found.length) return h("p", { class: "note" }, "This leaderboard has no training curves of this model.");
    const kind = (metric) => metric.slice(metric.lastIndexOf(": ") + 1).trim();  // Behind the phase, if there are several.
    const groups = d3.groups(found, (one) => (kind(one.metric) in TRAINING ? kind(one.metric) : "seen"));
    const panels = d3.sort(groups, ([name]) => PANELS.indexOf(name)).map(([name, group]) => {
      const names = unique(group.map((one) => one.metric));
      const inks = new Map(names.map((one, i) => [one, names.length === 1 ? colour(board, row.defense) : `var(--c${i})`]));
      return chart(TRAINING[name] ?? "Accuracy on training batches (%)", width, {
        height: 230, marginLeft: 46, marginRight: names.length > 1 ? 96 : 20, x: { label: "epoch", ticks: 6, tickFormat: "d" }, y: { label: null, grid: true, ticks: 5, zero: name === "loss" },
        marks: [Plot.line(group, { x: "epoch", y: "value", z: (one) => `${one.metric}/${one.seed}`, stroke: (one) => inks.get(one.metric), strokeWidth: 1.75 }),
                names.length > 1 ? Plot.text(group, Plot.selectLast({ x: "epoch", y: "value", z: "metric", text: "metric", dx: 6, textAnchor: "start", fill: (one) => inks.get(one.metric) })) : null],
      });
    });
    const kept = unique(jobs.map(([, job]) => board.training[job]?.kept_epoch).filter(Boolean));
    return [h("div", { class: "charts" }, panels), h("p", { class: "note" }, `One line for each training seed. The weights kept are those of epoch ${kept.join(", ")}.`)];
  };

  const inspected = (board, row, width) =>
    Object.entries(row.inspected).map(([title, values]) => {
      // The file sorts its keys; it keeps the order of layers apart.
      const layers = row.layers[title] ?? Object.keys(values);
      const shown = layers.map((layer) => ({ layer, value: values[layer] }));
      return [chart(`${title} of each layer${row.layers[title] ? ", from the input" : ""}`, width, {
        height: 44 + 22 * shown.length, marginLeft: width < 420 ? 118 : 150, marginRight: 56, x: { label: null, grid: true, ticks: width < 420 ? 3 : 5 }, y: { domain: shown.map((one) => one.layer), label: null, tickSize: 0 },
        marks: [Plot.barX(shown, { x: "value", y: "layer", fill: colour(board, row.defense), fillOpacity: 0.85, insetTop: 3, insetBottom: 3, title: (one) => `${one.layer}: ${one.value}` }),
                Plot.text(shown, { x: "value", y: "layer", text: (one) => value(one.value), dx: 6, textAnchor: "start", fill: "var(--quiet)" }),
                Plot.ruleX([0], { stroke: "var(--line)" })],
        ariaDescription: shown.map((one) => `${one.layer} ${value(one.value)}`).join("; "),
      })];
    });

  /** The host's checks, each with its limit, and what failed. */
  const flags = (board, row) => {
    const { checks } = row;
    const tests = [
      ["BOX", "images within eps and [0, 1]", `outside by ${value(checks.clipped)}`, `at most ${board.thresholds.clipped.toFixed(5)}`, checks.clipped <= board.thresholds.clipped],
      ["BOX", "no pixel that is not finite", `${value(checks.not_finite)} pixels`, "0", !checks.not_finite],
      ["MODE", "the attack kept the model's mode and buffers", checks.state_kept ? "kept" : "changed and put back", "kept", checks.state_kept],
      ["GRAD", "gradients that are zero", `${value(checks.gradients_zero)} %`, `at most ${board.thresholds.gradients_zero} %`, checks.gradients_zero <= board.thresholds.gradients_zero],
      ["GRAD", "gradients that are not finite", `${value(checks.gradients_not_finite)} %`, "0 %", !checks.gradients_not_finite],
      ["STAT", "images, interval and seeds are there", `${count(row.n)} images`, "all", row.n > 0 && row.seeds.train.length > 0],
    ];
    const known = new Set(["clipped", "not_finite", "state_kept", "gradients_zero", "gradients_not_finite"]);
    const more = Object.entries(checks).filter(([key]) => !known.has(key));
    return [
      row.site.suspicions.length ? h("p", { class: "note bad-note" }, h("b", {}, "Suspicious: "), row.site.suspicions.join("; "), ".") : h("p", { class: "note" }, "Nothing that the host checks in the attacks of this row is suspicious."),
      plainTable("Checks", ["Flag", "Test", "Seen", "Limit", "Verdict"], tests.map(([name, what, seen, limit, fine]) =>
        [name, what, seen, limit, h("span", { class: fine ? "tag good" : "tag bad" }, fine ? "passed" : "suspicious")])),
      more.length ? listed(Object.fromEntries(more)) : "",
    ];
  };

  /** What the audit says of the row: each verdict opens its reason, with figure and threshold, and its jobs. */
  const audited = (row) => {
    const { audit } = row.site;
    const grave = { broken: "tag bad", weak: "tag bad", holds: "tag good" };
    return [
      audit.ra && listed({ "RA worst of the row's attacks": `${figure(audit.ra)} on ${count(audit.ra.n)} images`,
        "with the stronger attacks of the audit": `${figure(audit.ra_worst)} on ${count(audit.ra_worst.n)} images` }),
      plainTable("Verdicts", ["Check", "Verdict", "Reason"], audit.verdicts.map((one) => [one.check,
        h("span", { class: grave[one.verdict] ?? "tag" }, one.verdict),
        h("details", {}, h("summary", {}, one.text),
          listed({ figure: one.figure === null ? "none" : value(one.figure), threshold: one.threshold === null ? "none" : value(one.threshold) }),
          h("pre", { tabindex: "0" }, one.jobs.join("\n") || "no job"))])),
    ];
  };

  const cost = (row) => listed({
    parameters: count(row.parameters), "of them not zero": count(row.nonzero_parameters), "multiply-accumulates": count(row.macs),
    ...Object.fromEntries(Object.entries(row.latency_ms).map(([batch, one]) => [`latency, batch ${batch}`, `${fixed(one.median, 2)} ms (quartiles ${fixed(one.low, 2)}–${fixed(one.high, 2)})${one.relative ? `, ${fixed(one.relative, 2)}× the undefended network` : ""}`])),
    ...Object.fromEntries(Object.entries(row.readings ?? {}).filter(([, read]) => read.passes > 1).map(([reading, read]) => [`one answer by ${reading}`,
      [`${read.passes} forward passes`, `${count(read.macs || null)} multiply-accumulates`, ...Object.entries(read.latency_ms).map(([batch, timed]) => `${fixed(timed.median, 2)} ms at batch ${batch}`)].join(", ")])),
    training: row.train_seconds_per_epoch === null ? "–" : `${fixed(row.train_seconds_per_epoch, 2)} s an epoch`,
    ...row.site.effort,
    ...row.extra,
  });

  const how = (row) => {
    return [
      h("h3", {}, "Model"), listed(row.site.model),
      row.recipe && [h("h3", {}, "Training"), listed(row.site.training)],
      h("h3", {}, "Attacks, as resolved"), plainTable("Attacks", ["Attack", "Options"], row.site.attacks),
      h("h3", {}, "Computed with"), listed({ ...row.versions, ...row.machine }),
      h("details", {}, h("summary", {}, "Jobs in the store"), h("pre", { tabindex: "0" }, JSON.stringify(row.jobs, null, 1))),
    ];
  };

  const rowPage = (board, row, main) => {
    const draw = () => {
      const room = Math.max(300, Math.min(main.clientWidth - (window.innerWidth > 560 ? 64 : 32), 1180));
      const width = room >= 900 ? Math.floor(room / 2) - 48 : room - 38;
      const neighbours = board.rows.filter((one) => one.site.entry === row.site.entry);
      const shown = inspected(board, row, width);
      main.replaceChildren(
        h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "Leaderboards"), " / ", h("a", { href: `#/${board.name}` }, board.title)),
        h("div", { class: "title" },
          h("h1", { class: "named" }, swatch(board, row.defense), `${row.site.title} ${row.site.point}`.trim()),
          h("p", { class: "lead" }, row.site.heading),
          h("p", { class: "facts" },
            h("span", { class: "tag" }, row.stochastic ? "randomised" : "deterministic"),
            h("span", { class: "tag" }, row.site.tuned ? "one model for all settings" : "a model of its own"),
            row.site.front && h("span", { class: "tag good" }, "on the Pareto front"),
            row.site.knee && h("span", { class: "tag good" }, "knee"),
            row.site.dominated && h("span", { class: "tag" }, "dominated by another setting"),
            row.site.suspicions.length > 0 && h("span", { class: "tag bad" }, "suspicious"),
            row.site.audit && h("span", { class: row.site.audit.grave ? "tag bad" : "tag" }, `audit: ${row.site.audit.badge}`))),
        h("div", { class: "headline" },
          ...[["Clean accuracy", row.ca], ["Robust accuracy, worst case", row.ra.worst]].map(([name, one]) =>
            h("div", { class: "panel" }, h("div", { class: "name" }, name), h("div", { class: "big" }, fixed(one.value), h("small", {}, " %")), h("div", { class: "interval" }, `95 %: ${fixed(one.low)} to ${fixed(one.high)}`))),
          h("div", { class: "panel" }, robuststack.comparedWith(board, row), h("div", { class: "name" }, "Settings of this defense"),
            h("ul", { class: "settings" }, neighbours.map((one) => h("li", {}, one === row ? h("b", { "aria-current": "page" }, one.site.setting) : h("a", { href: `#/${board.name}/${one.site.id}` }, one.site.setting)))))),
        h("div", { class: "charts" }, accuracies(board, row, width), h("div", { class: "panel" }, h("h2", {}, "Figures"), scores(board, row))),
        ...[ladder(board, row, width)].filter(Boolean).map((found) => section("Ladder", found)),
        section("Seeds and intervals", seeds(board, row)),
        robuststack.drawsOf(board, row, width),
        Object.keys(row.variance ?? {}).length ? section("Where the variance comes from", sources(row, width)) : "",
        section("Training curves", training(board, row, width)),
        shown.length ? section("Inside the model", h("div", { class: "charts" }, shown), row.seeds.train.length > 1 && h("p", { class: "note" }, "Means over training seeds.")) : "",
        section("Flags", flags(board, row)),
        row.site.audit ? section("Audit", audited(row)) : "",
        section("Cost", cost(row)),
        section("How it was obtained", how(row)),
        section("Run it again", command(row.site.command)));
    };
    draw();
    return { redraw: draw, leave: () => {} };
  };

  Object.assign(robuststack, { rowPage });
})();
