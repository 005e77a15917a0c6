// What papers claim beside what came out here.
"use strict";

(() => {
  const { h, fixed, plural, plainTable, section } = robuststack;

  const VERDICTS = ["confirmed", "refuted", "undecided", "not comparable"];
  const DECIDED = VERDICTS.slice(0, 2);

  /** The first words of what is said of a claim, once an audit has been asked. */
  const verdictOf = (claim) => VERDICTS.find((verdict) => claim.said.startsWith(verdict)) ?? claim.verdict;

  /** Claim, published, ours, verdict, between, source. */
  const claimCells = (claim) => {
    const unit = (number) => (claim.how === "difference" ? `${number >= 0 ? "+" : "−"}${fixed(Math.abs(number), 2)} points` : `${fixed(number, 2)}×`);
    const limit = (number) => `${number >= 0 ? "+" : "−"}${fixed(Math.abs(number))}`;
    const interval = claim.ours?.low == null ? "" : ` [${limit(claim.ours.low)}, ${limit(claim.ours.high)}]`;
    const between = claim.ours?.of ? `${claim.ours.of} against ${claim.ours.against}` : claim.ours ? `mean of ${plural(claim.ours.pairs, "pair")}` : "–";
    return [claim.claim, unit(claim.published), claim.ours ? `${unit(claim.ours.value)}${interval}` : "–", claim.said, between, claim.source];
  };

  const table = (found) =>
    plainTable("Published claims of all suites", ["Claim", "Published", "Ours", "Verdict", "Source", "Suite"],
      found.map(({ claim, board }) => {
        const [text, published, ours, said, , source] = claimCells(claim);
        return [text, published, ours, said, source, h("a", { href: `#/${board.name}` }, board.title)];
      }), [1, 2]);

  /** The claims of all suites: how many survive, those that are decided, and the others behind a fold. */
  const claimsOfAll = (boards) => {
    const found = boards.filter((board) => !board.smoke).flatMap((board) => board.claims.map((claim) => ({ claim, board })));
    if (!found.length) return null;
    const counts = VERDICTS.map((verdict) => [verdict, found.filter(({ claim }) => verdictOf(claim) === verdict).length]);
    const decided = found.filter(({ claim }) => DECIDED.includes(verdictOf(claim)));
    const others = found.filter(({ claim }) => !DECIDED.includes(verdictOf(claim)));
    return section("Published claims",
      h("p", { class: "note" }, `Of ${plural(found.length, "test")} of comparisons that papers publish `, counts.filter(([, count]) => count).map(([verdict, count]) => `${count} ${verdict}`).join(", "),
        " on the data and networks here: by the paired test, corrected for the pairs that were looked at. A lead that an audit does not believe decides nothing."),
      decided.length > 0 && table(decided),
      others.length > 0 && h("details", {}, h("summary", {}, `${plural(others.length, "comparison")} not decided`), table(others)));
  };

  Object.assign(robuststack, { claimCells, claimsOfAll });
})();
