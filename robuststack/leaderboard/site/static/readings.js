// What a row says by a protocol and a reading of its judging draws.
"use strict";

(() => {
  const { unique } = robuststack;

  const EXPECTED = "expected";

  /** A row by a protocol and a reading; undefined if it has not both. Costs are those of one answer: a vote takes several passes. */
  const scoresOf = (row, protocol, reading) => {
    const scores = protocol === row.protocol ? row : row.protocols[protocol];
    const read = reading === EXPECTED ? scores : scores?.readings?.[reading];
    return read && { ca: read.ca, ra: read.ra, macs: read.macs || row.macs, latency_ms: read.latency_ms ?? row.latency_ms };
  };

  const protocolsOf = (row) => [row.protocol, ...Object.keys(row.protocols)];
  const readingsOf = (board) => unique([EXPECTED, ...board.rows.flatMap((row) => Object.keys(row.readings ?? {}))]);

  Object.assign(robuststack, { scoresOf, protocolsOf, readingsOf, EXPECTED });
})();
