// Who stands where: for each data set and threat model the defenses of all suites, by what their settings are worth together.
"use strict";

(() => {
  const { unique } = robuststack;

  /** The share of the plane of clean and robust accuracy, in percent, that points `[ca, ra]` dominate together. */
  const hypervolume = (points) => {
    let highest = 0;
    let area = 0;
    for (const [ca, ra] of [...points].sort((a, b) => b[0] - a[0])) {
      area += ca * Math.max(ra - highest, 0);
      highest = Math.max(highest, ra);
    }
    return area / 100;
  };

  const latencyOf = (row) => row.latency_ms["1"]?.median ?? null;

  /** What a place in a leaderboard is for: data, threat model and images, and by which protocol if it is not the usual one. */
  const protocolOf = (row) => (row.protocol === "adaptive" ? "" : `, protocol ${row.protocol}`);
  const placeOf = (row) => `${row.site.model.dataset}, ${row.site.model["threat model"]}, ${row.split}${protocolOf(row)}`;

  /** Its attacks with their options, as the suite asks for them. */
  const attacksOf = (board) => board.attacks.map((attack) => `${attack.label} (${attack.text})`).sort().join(", ");

  const trained = ({ rows }) => new Set(rows.flatMap((row) => Object.values(row.jobs.train)));
  const judged = ({ rows }) => new Set(rows.flatMap((row) => Object.values(row.jobs.scores[row.protocol]).flatMap(Object.values)));
  const isWithin = (some, more) => some.size > 0 && some.size < more.size && [...some].every((job) => more.has(job));

  const settingsOf = ({ rows }) => new Set(rows.map((row) => row.site.setting));
  const isSame = (entry, other) => entry.title === other.title && entry.variant.join() === other.variant.join();

  /** Whether another suite's entry of the defense, attacked alike, has what an entry has and more: further models (seeds, or settings of a sweep) at all of its settings, or further settings of its model. */
  const isPartOf = (contestant, other) =>
    contestant.place === other.place && attacksOf(contestant.board) === attacksOf(other.board) && isSame(contestant.entry, other.entry)
      && [...settingsOf(contestant)].every((setting) => settingsOf(other).has(setting))
      && [trained, judged].some((jobs) => isWithin(jobs(contestant), jobs(other)));

  /** Every entry of every suite that is ranked. An entry that several suites judged by the same jobs stands there once, audited if it is anywhere;
   *  so does one that is part of another, of which some setting `counts` if one of its own does. */
  const contestants = (boards, counts) => {
    const entries = new Map();
    for (const board of boards.filter((candidate) => !candidate.smoke && !candidate.unranked)) {
      const settings = d3.group(board.rows, (row) => row.site.entry);
      board.entries.forEach((entry, position) => {
        const rows = settings.get(position);
        const contestant = { board, entry, rows, also: [], place: placeOf(rows[0]) };
        const jobs = JSON.stringify(rows.map((row) => row.jobs.scores));
        const known = entries.get(jobs);
        if (!known) { entries.set(jobs, contestant); return; }
        const [kept, left] = known.rows.some((row) => row.site.audit) || !rows.some((row) => row.site.audit) ? [known, contestant] : [contestant, known];
        entries.set(jobs, { ...kept, also: [...known.also, left.board] });
      });
    }
    const all = [...entries.values()];
    const isLeftTo = (contestant, other) => isPartOf(contestant, other) && (other.rows.some(counts) || !contestant.rows.some(counts));
    const whole = all.filter((contestant) => !all.some((other) => isLeftTo(contestant, other)));
    return whole.map((contestant) => ({ ...contestant,
      also: unique([...contestant.also, ...all.filter((other) => isLeftTo(other, contestant)).flatMap((other) => [other.board, ...other.also])]) }));
  };

  const own = (row) => row.ra.worst;
  const audited = (row) => (row.site.audit && !row.site.audit.broken && row.site.audit.ra_worst) || null;

  /** The ways to rank; `ra` is the robust accuracy that counts, null for a setting that does not count; of such a setting `possible` is what it may have all the same. */
  const RANKINGS = [
    { key: "audited", label: "Audited trade-off", ra: audited, possible: (row) => row.site.audit?.ra_worst ?? null, volume: true,
      meaning: "Hypervolume of the settings that the audit did not find broken, with the stronger attacks that it found" },
    { key: "hypervolume", label: "Hypervolume", ra: own, volume: true,
      meaning: "The share of the plane of clean and robust accuracy that the settings dominate together" },
    { key: "robust", label: "Robust accuracy", ra: own, volume: false, meaning: "The most robust setting that meets the limits" },
  ];

  /** The figure of a contestant with its limits; null if none of its settings counts. `best` is the setting that is shown. */
  const figureOf = (contestant, ranking, { ca = 0, ms = Infinity, macs = Infinity }) => {
    const within = (cost, limit) => limit === Infinity || (cost ?? Infinity) <= limit;
    const allowed = contestant.rows.filter((row) => row.ca.value >= ca && within(latencyOf(row), ms) && within(row.macs || null, macs));
    const read = (of) => allowed.map((row) => ({ row, ca: row.ca, ra: of(row) })).filter((setting) => setting.ra);
    const settings = read(ranking.ra);
    if (!settings.length) return null;
    if (!ranking.volume) {
      const best = d3.greatest(settings, (setting) => setting.ra.value);
      return { best, counted: settings.length, value: best.ra.value, low: best.ra.low, high: best.ra.high };
    }
    const best = d3.greatest(settings, (setting) => setting.ca.value * setting.ra.value);
    const certainty = ranking.ra === own && settings.length === contestant.rows.length ? contestant.entry.certainty : null;
    const limits = (of, over = settings) => hypervolume(over.map((setting) => [of(setting.ca), of(setting.ra)]));
    // A setting that an audit found broken has an accuracy between 0 and its figure.
    const most = ranking.possible ? read(ranking.possible) : settings;
    return {
      best, counted: settings.length, value: limits((figure) => figure.value), rough: !certainty,
      low: certainty ? certainty.low : limits((figure) => figure.low ?? 0), high: certainty ? certainty.high : limits((figure) => figure.high ?? 100, most),
    };
  };

  /** The places from `first` to `last` that the intervals leave open. */
  const places = (ranked) => ranked.map((item) => ({
    ...item, first: 1 + ranked.filter((other) => other.figure.low > item.figure.high).length,
    last: ranked.length - ranked.filter((other) => other.figure.high < item.figure.low).length,
  }));

  /** One leaderboard for each data set and threat model: who is `ranked`, the best first, and who is `unranked`. */
  const leaderboards = (boards, key, limits) => {
    const ranking = RANKINGS.find((candidate) => candidate.key === key);
    const groups = d3.groups(contestants(boards, ranking.ra), (contestant) => contestant.place);
    const short = ([first]) => `${first.entry.variant[0]}, ${first.rows[0].site.model["threat model"]}${protocolOf(first.rows[0])}`;
    const alike = (group) => groups.filter(([, other]) => short(other) === short(group)).length > 1;
    const boardsOf = groups.map(([place, group]) => {
      const scored = group.map((contestant) => ({ ...contestant, figure: figureOf(contestant, ranking, limits) }));
      const ranked = d3.sort(scored.filter((item) => item.figure), (a, b) => b.figure.value - a.figure.value);
      return {
        heading: alike(group) ? place : short(group), ranked: places(ranked), unranked: scored.filter((item) => !item.figure), cautions: cautions(ranked, limits),
        audited: group.filter(({ rows }) => rows.some((row) => row.site.audit)).length, size: group.length,
      };
    });
    // What was audited comes first, and then what most defenses were tried on.
    return d3.sort(boardsOf, (a, b) => b.audited - a.audited || b.size - a.size);
  };

  /** What makes the places of a leaderboard less comparable than they look. */
  const cautions = (ranked, { ms = Infinity }) => {
    const machines = unique(ranked.map(({ figure }) => figure.best.row.machine.device));
    return [
      unique(ranked.map(({ board }) => attacksOf(board))).length > 1 && "The suites attack differently. Fewer or weaker attacks leave a higher figure.",
      unique(ranked.map(({ figure }) => figure.best.row.n)).length > 1 && "The suites judge different numbers of images.",
      ms < Infinity && machines.length > 1 && `Latencies were measured on different machines: ${machines.join("; ")}.`,
    ].filter(Boolean);
  };

  Object.assign(robuststack, { hypervolume, leaderboards, latencyOf, RANKINGS });
})();
