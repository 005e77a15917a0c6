// What an address says: `#/suite/row?choice=value`. Choices are written into it as they are made, so that it can be shared.
"use strict";

(() => {
  const decoded = (part) => { try { return decodeURIComponent(part); } catch { return part; } };

  /** The parts of the path, and the choices. */
  const readAddress = () => {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
    return { path: path.split("/").map(decoded), choices: new URLSearchParams(query) };
  };

  /** Put choices into the address without a new entry in the history: name -> text, list of texts, or what is left out. */
  const writeChoices = (choices) => {
    const query = new URLSearchParams();
    for (const [name, values] of Object.entries(choices)) {
      for (const text of [values].flat()) if (text !== null && text !== undefined && text !== "") query.append(name, text);
    }
    const path = location.hash.split("?", 1)[0] || "#/";
    const address = query.size ? `${path}?${query}` : path;
    history.replaceState(null, "", address);
    document.getElementById("main").dataset.address = address;  // What is shown now.
  };

  Object.assign(robuststack, { readAddress, writeChoices });
})();
