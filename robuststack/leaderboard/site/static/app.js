// Which page an address shows (`#/suite/row`), and light or dark.
"use strict";

(() => {
  const { h, homePage, suitePage, rowPage, comparePage } = robuststack;
  const main = document.getElementById("main");
  const jump = document.getElementById("jump");
  const toggle = document.getElementById("theme");
  const boards = robuststack.boards;
  let page = { redraw: () => {}, leave: () => {} };

  const decoded = (part) => { try { return decodeURIComponent(part); } catch { return part; } };

  const show = (first) => {
    const [name, id, ...pair] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
    const board = boards.find((one) => one.name === name);
    const row = board?.rows.find((one) => one.site.id === id);
    const compared = id === "compare" ? pair.map((part) => board?.rows.find((other) => other.site.id === part)) : [];
    const [one, two] = compared;
    page.leave();
    if (compared.length === 2 && one && two && one !== two && one.site.heading === two.site.heading) page = comparePage(board, one, two, main);
    else if (row) page = rowPage(board, row, main);
    else if (board && !id) page = suitePage(board, main);
    else if (!name) page = homePage(boards, main);
    else {
      page = { redraw: () => {}, leave: () => {} };
      main.replaceChildren(h("div", { class: "title" }, h("h1", {}, "Not here"), h("p", { class: "lead" }, `There is no ${[name, id, ...pair].filter(Boolean).join("/")} in these leaderboards. `, h("a", { href: "#/" }, "All leaderboards"))));
    }
    main.dataset.address = location.hash;  // What is shown now.
    jump.value = board?.name ?? "";
    document.title = [row?.label, board?.name, "RobustStack leaderboard"].filter(Boolean).join(" · ");
    if (first) return;
    scrollTo(0, 0);
    main.focus({ preventScroll: true });  // A new page: a screen reader goes on from its beginning.
  };

  const stored = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
                   set: (one) => { try { localStorage.setItem("theme", one); } catch { /* Not kept, then. */ } } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = (one) => {
    document.documentElement.dataset.theme = one;
    toggle.textContent = one === "dark" ? "Light" : "Dark";
    toggle.setAttribute("aria-label", `Switch to the ${one === "dark" ? "light" : "dark"} theme`);
  };

  theme(stored.get() ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!stored.get()) theme(dark.matches ? "dark" : "light"); });
  toggle.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    theme(next);
    stored.set(next);
  });
  document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  jump.append(h("option", { value: "" }, "all leaderboards"), ...boards.map((one) => h("option", { value: one.name }, one.name)));
  jump.addEventListener("change", () => { location.hash = `#/${jump.value}`; });
  addEventListener("hashchange", () => show(false));
  let width = innerWidth;
  addEventListener("resize", () => { if (Math.abs(innerWidth - width) > 20) { width = innerWidth; page.redraw(); } });
  show(true);
})();
